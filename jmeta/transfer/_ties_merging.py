"""TIES-merging: trim, elect a sign, merge (Yadav et al., 2023, 2306.01708), section 4, algorithm 1.

As in the authors' code the disjoint mean counts entries that agree with the elected sign, and where signs are even that of the
whole wins. FusionBench has a scale of 0.3, which belongs to its disjoint sum.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jmeta._types import Params
from jmeta.transfer._merging import go, ways_from


def ties_merging(base: Params, models: Sequence[Params], *, density: float = 0.2, scale: float = 1.0) -> Params:
    r"""Merges fine-tuned networks by their largest changes, where they agree on a sign.

    Of each task vector :math:`\theta_i - \theta_0` the largest entries stay, over all leaves together; for each parameter the sign
    of their sum is elected; the mean of those with that sign is added to the base.

    Args:
      base: the pretrained parameters.
      models: what was fine-tuned from them.
      density: the share of entries that stay, above 0 and at most 1.
      scale: what the merged vector is multiplied by.

    Raises:
      ValueError: if the trees differ in structure or shapes, or ``density`` is no such share.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1; got {density}.")
    ways = ways_from(base, models)
    one = jax.tree.map(lambda leaf: leaf[0], ways)
    flat = jax.vmap(lambda way: ravel_pytree(way)[0])(ways)
    kept = max(round(density * flat.shape[1]), 1)
    threshold = jax.lax.top_k(jnp.abs(flat), kept)[0][:, -1:]
    trimmed = jnp.where(jnp.abs(flat) >= threshold, flat, 0)
    elected = jnp.sign(trimmed.sum(axis=0))
    elected = jnp.where(elected == 0, jnp.sign(elected.sum()), elected)
    agreeing = trimmed * elected[None] > 0
    mean = jnp.where(agreeing, trimmed, 0).sum(axis=0) / jnp.maximum(agreeing.sum(axis=0), 1)
    return go(base, ravel_pytree(one)[1](mean), scale)
