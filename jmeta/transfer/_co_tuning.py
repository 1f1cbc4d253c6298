"""Co-Tuning (You et al., 2020, NeurIPS, *Co-Tuning for transfer learning*), section 3.

The relationship is the direct one of section 3.2, the mean of the source's probabilities over a class; the authors calibrate them
before.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._composition import split_key
from jmeta._options import check_counts, check_model
from jmeta._presence import with_presence
from jmeta._rows import fill_batch
from jmeta._scoring import score
from jmeta._sentences import kinds
from jmeta._types import Batch, EncoderHead, LossFn, Metrics, Model, Objective
from jmeta._validation import check_rows

SOURCE, TARGET = "source", "target"


def co_tuning(
    encoder: Model, source_head: Model, head: Model, loss_fn: LossFn, relationship: jax.Array, *, strength: float = 2.3
) -> Objective:
    r"""Fine-tunes a network and its old head together: the old one learns which source classes a target class is like.

    .. math:: L(y_t) - \lambda \sum_s p(y_s \mid y_t) \log p_\text{source}(y_s \mid x)

    Args:
      encoder: ``x -> features``.
      source_head: the head of the source classes, ``features -> logits [n, sources]``.
      head: that of the target classes.
      loss_fn: ``(outputs, targets) -> [n, ...]`` of the target.
      relationship: ``[classes, sources]``, rows that add up to 1, such as :func:`category_relationship`.
      strength: :math:`\lambda`.

    Returns:
      An objective of parameters ``EncoderHead(encoder, {"source": ..., "target": ...})`` on batches of the target, whose labels are
      integers ``[n]``.

    Raises:
      ValueError: if a part is no model, or a row of the relationship does not add up to 1; from the objective, if the source head
        has other classes.
    """
    for name, model in (("encoder", encoder), ("source_head", source_head), ("head", head)):
        check_model(name, model)
    shares = np.asarray(relationship)
    if shares.ndim != 2 or (shares < 0).any() or not np.allclose(shares.sum(axis=-1), 1, atol=1e-3):
        raise ValueError(f"relationship must be [classes, sources] with rows that add up to 1; got {kinds(relationship)}.")

    def imitation(logits: jax.Array, labels: jax.Array) -> jax.Array:
        if logits.shape[-1] != shares.shape[1]:
            raise ValueError(f"source_head must give {shares.shape[1]} logits, one for each source class; got {logits.shape}.")
        return -(jnp.asarray(shares, logits.dtype)[labels] * jax.nn.log_softmax(logits)).sum(axis=-1)

    def loss(params: EncoderHead, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("data", batch)
        batch = fill_batch(batch)
        encode_key, heads_key = split_key(key)
        source_key, target_key = split_key(heads_key)
        features = encoder.apply(params.encoder, batch.x, key=encode_key, mask=batch.mask)
        value = score(loss_fn, head.apply(params.head[TARGET], features, key=target_key, mask=batch.mask), batch)
        logits = source_head.apply(params.head[SOURCE], features, key=source_key, mask=batch.mask)
        source = score(imitation, logits, batch, name="the loss of source classes")
        total = value + strength * source
        return total, with_presence({"loss": total, "target_loss": value, "source_loss": source}, batch)

    return loss


def category_relationship(logits: Any, labels: Any, *, classes: int) -> np.ndarray:
    r"""Computes :math:`p(y_s \mid y_t)`: what a source model says of the examples of a target class, on average.

    Args:
      logits: ``[n, sources]`` of the pretrained network with its old head.
      labels: ``[n]`` integers, the target classes.
      classes: how many there are.

    Returns:
      ``[classes, sources]`` on the host.

    Raises:
      ValueError: if shapes do not fit, or a class has no example.
    """
    from scipy.special import softmax

    check_counts(classes=classes)
    scores, targets = np.asarray(logits, np.float64), np.asarray(labels)
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(f"logits and labels must be [n, sources] and [n]; got {scores.shape} and {targets.shape}.")
    if set(found := np.unique(targets).tolist()) != set(range(classes)):
        raise ValueError(f"labels must hold an example of each class 0, ..., {classes - 1}; got {found}.")
    probabilities = softmax(scores, axis=1)
    return np.stack([probabilities[targets == label].mean(axis=0) for label in range(classes)])
