"""Task2Vec (Achille et al., 2019, 1902.03545), sections 3 and 4.

The diagonal is that of the paper, the squared gradient of one example at a time; the authors' code squares that of a batch.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._composition import check_encoder_head
from jmeta._options import check_counts
from jmeta._rows import count_rows
from jmeta._types import EncoderHead, Params
from jmeta.transfer._alignment import check_logits


def task2vec(model: EncoderHead, params: EncoderHead, x: Any, key: jax.Array, *, batch_size: int = 32) -> np.ndarray:
    r"""Describes a task by what in a probe network matters to it: the Fisher information of the weights, a mean for each filter.

    .. math:: \mathbb{E}_x \, \mathbb{E}_{y \sim p(y \mid x)} \left[ \left(\nabla_w \log p(y \mid x)\right)^2 \right]

    The encoder is the same for all tasks, the head has been fitted to this one. Labels are drawn from the model.

    Args:
      model: ``EncoderHead`` of two models, whose outputs are logits ``[n, classes]``.
      params: of both.
      x: examples of the task, leaves ``[n, ...]``.
      key: that labels are drawn with.
      batch_size: examples whose gradients are held at once.

    Returns:
      ``[filters]`` in float64 on the host: for each leaf of the encoder of two axes or more, one after another, the mean over all
      axes but the last, which is that of the filters.

    Raises:
      ValueError: if the model has not two parts, its outputs are no logits, or the encoder has no such leaf.
    """
    check_encoder_head(model)
    check_counts(batch_size=batch_size)
    if not any(leaf.ndim > 1 for leaf in jax.tree.leaves(params.encoder)):
        raise ValueError("params.encoder must hold a leaf of two axes or more; got none.")
    keys = jax.random.split(key, count_rows(x))
    return np.concatenate([np.asarray(leaf, np.float64) for leaf in _information(model, batch_size)(params, x, keys)])


def task2vec_distance(one: Any, other: Any) -> float:
    r"""Computes how far apart two tasks are: one less the cosine of their embeddings, each relative to the sum of both.

    .. math:: 1 - \cos\left(\frac{f}{f + g}, \frac{g}{f + g}\right)

    Filters that matter to neither task say nothing.

    Raises:
      ValueError: if embeddings are not vectors of one length, or have a negative entry.
    """
    first, second = (np.asarray(values, np.float64) for values in (one, other))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"embeddings must be vectors of one length; got shapes {first.shape} and {second.shape}.")
    if min(first.min(), second.min()) < 0:
        raise ValueError(f"embeddings must be at least 0; got {min(first.min(), second.min())}.")
    both = first + second
    first, second = (values / np.where(both > 0, both, 1) for values in (first, second))
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(1 - first @ second / lengths) if lengths > 0 else float(both.any())


# Kept, so that tasks compared with one probe run one compiled program.
@functools.lru_cache(maxsize=16)
def _information(model: EncoderHead, batch_size: int) -> Any:
    def of_one(params: EncoderHead, given: Any) -> list[jax.Array]:
        slopes = jax.grad(_log_likelihood, argnums=1)(model, params.encoder, params.head, *given)
        found = [leaf for leaf in jax.tree.leaves(slopes) if leaf.ndim > 1]
        return [jnp.square(leaf).mean(axis=tuple(range(leaf.ndim - 1))) for leaf in found]

    def of_all(params: EncoderHead, x: Any, keys: jax.Array) -> list[jax.Array]:
        squares = jax.lax.map(functools.partial(of_one, params), (x, keys), batch_size=batch_size)
        return [leaf.mean(axis=0) for leaf in squares]

    return jax.jit(of_all)


def _log_likelihood(model: EncoderHead, encoder: Params, head: Params, x: Any, key: jax.Array) -> jax.Array:
    features = model.encoder.apply(encoder, jax.tree.map(lambda leaf: leaf[None], x))
    logits = check_logits("outputs", model.head.apply(head, features))[0]
    drawn = jax.random.categorical(key, jax.lax.stop_gradient(logits))
    return jax.nn.log_softmax(logits)[drawn]
