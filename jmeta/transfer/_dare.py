"""DARE: drop and rescale (Yu et al., 2023, 2311.03099), section 3.2."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jmeta._types import Params
from jmeta.transfer._merging import go, ways_from


def dare(base: Params, models: Sequence[Params], key: jax.Array, *, drop: float = 0.5) -> list[Params]:
    r"""Drops a share of what fine-tuning has changed, and makes up for it: :math:`\theta_0 + m (\theta_i - \theta_0) / (1 - p)`.

    What is left of several models gets less into each other's way; it is merged by any other function, such as
    ``task_arithmetic(base, dare(base, models, key))``.

    Args:
      base: the pretrained parameters.
      models: what was fine-tuned from them.
      key: that what is dropped is drawn with, anew for each model and leaf.
      drop: :math:`p`, the probability of being dropped, at least 0 and below 1.

    Returns:
      As many models.

    Raises:
      ValueError: if the trees differ in structure or shapes, or ``drop`` is no such probability.
    """
    if not 0 <= drop < 1:
        raise ValueError(f"drop must be at least 0 and below 1; got {drop}.")
    leaves, structure = jax.tree.flatten(ways_from(base, models))
    keys = jax.random.split(key, len(leaves))
    kept = [jax.random.bernoulli(own, 1 - drop, leaf.shape) for own, leaf in zip(keys, leaves, strict=True)]
    thinned = [jnp.where(keep, leaf, 0) / (1 - drop) for keep, leaf in zip(kept, leaves, strict=True)]
    return [go(base, structure.unflatten([leaf[at] for leaf in thinned])) for at in range(len(models))]
