"""Task arithmetic (Ilharco et al., 2022, 2212.04089), section 2."""

from collections.abc import Sequence

import jax

from jmeta._types import Params
from jmeta.transfer._merging import go, ways_from


def task_arithmetic(base: Params, models: Sequence[Params], *, scale: float = 0.3) -> Params:
    r"""Adds up what fine-tuning has changed: :math:`\theta_0 + \lambda \sum_i (\theta_i - \theta_0)`.

    A negative scale makes a network forget.

    >>> import jax.numpy as jnp
    >>> task_arithmetic(jnp.array([1.0]), [jnp.array([2.0]), jnp.array([4.0])], scale=0.5).tolist()
    [3.0]

    Args:
      base: the pretrained parameters.
      models: what was fine-tuned from them.
      scale: :math:`\lambda`.

    Raises:
      ValueError: if the trees differ in structure or shapes.
    """
    return go(base, jax.tree.map(lambda leaf: leaf.sum(axis=0), ways_from(base, models)), scale)
