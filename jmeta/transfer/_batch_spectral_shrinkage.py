"""Batch spectral shrinkage (Chen et al., 2019, NeurIPS, *Catastrophic forgetting meets negative transfer*), equation 4."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import split_key
from jmeta._options import check_counts, check_model
from jmeta._presence import with_presence
from jmeta._rows import fill_batch
from jmeta._scoring import score
from jmeta._sentences import kinds
from jmeta._types import Batch, EncoderHead, LossFn, Metrics, Model, Objective
from jmeta._validation import check_rows


def batch_spectral_shrinkage(
    encoder: Model, head: Model, loss_fn: LossFn, *, smallest: int = 1, strength: float = 1e-3
) -> Objective:
    r"""Fine-tunes a network without the directions of its features in which a batch hardly varies.

    .. math:: L + \eta \sum_{i=1}^{k} \sigma_{-i}^2

    of the smallest singular values of the features ``[n, d]`` of a batch. Such directions transfer nothing, or what is wrong.

    Args:
      encoder: ``x -> features [n, d]``.
      head: ``features -> outputs``.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      smallest: :math:`k`; of a batch with fewer rows or features, all.
      strength: :math:`\eta`.

    Returns:
      An objective of parameters ``EncoderHead(encoder, head)`` on batches.

    Raises:
      ValueError: if a part is no model or ``smallest`` no whole number of at least 1; from the objective, if features are no
        vectors.
    """
    check_model("encoder", encoder)
    check_model("head", head)
    check_counts(smallest=smallest)

    def loss(params: EncoderHead, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("data", batch)
        batch = fill_batch(batch)
        encode_key, head_key = split_key(key)
        features = encoder.apply(params.encoder, batch.x, key=encode_key, mask=batch.mask)
        value = score(loss_fn, head.apply(params.head, features, key=head_key, mask=batch.mask), batch)
        spectrum = _of_smallest(features, batch.real, smallest)
        total = value + strength * spectrum
        return total, with_presence({"loss": total, "task_loss": value, "spectrum": spectrum}, batch._replace(weights=None))

    return loss


def _of_smallest(features: Any, real: jax.Array, smallest: int) -> jax.Array:
    """Adds up the squares of the smallest singular values of the real rows."""
    if getattr(features, "ndim", 0) != 2:
        raise ValueError(f"encoder must give one vector per example, [n, d], to have singular values; got {kinds(features)}.")
    wide = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    values = jnp.linalg.svd(jnp.where(real[:, None], wide, 0), compute_uv=False)
    # Each masked row adds a zero at the end, which is none of the real ones.
    at, count = jnp.arange(len(values)), jnp.minimum(real.sum(), wide.shape[1])
    return jnp.where((at >= count - smallest) & (at < count), jnp.square(values), 0).sum().astype(features.dtype)
