"""Discriminative fine-tuning: a step size for each layer (Howard and Ruder, 2018, 1801.06146), section 3.2.

The paper divides by 2.6 from each layer to the one below it.
"""

import math
from typing import Any

import jax
import optax

from jmeta._paths import ByPath, values_by_path
from jmeta._types import Params


def layerwise_rates(optimizer: optax.GradientTransformation, rates: ByPath) -> optax.GradientTransformationExtraArgs:
    """Multiplies the steps of an optimiser by a factor for each layer, so that what is general moves less than what is new.

    It is the step that is multiplied, weight decay included, because Adam's steps do not depend on the scale of a gradient. What
    must not move at all is for :func:`jmeta.trainable`.

    >>> import jax.numpy as jnp
    >>> optimizer = layerwise_rates(optax.sgd(1.0), {"encoder": 2.6**-1, "head": 1.0})
    >>> params = {"encoder": jnp.ones(1), "head": jnp.ones(1)}
    >>> jax.tree.map(lambda leaf: round(float(leaf[0]), 3), optimizer.update(params, optimizer.init(params), params)[0])
    {'encoder': -0.385, 'head': -1.0}

    Args:
      optimizer: any optax transformation.
      rates: factors of the rate of ``optimizer``: a function of paths such as ``"encoder/Dense_0/kernel"``, or a prefix of the
        parameters with numbers.

    Raises:
      ValueError: from ``init``, if all are 1, so that nothing was chosen, one is not above 0, or the prefix does not fit.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Params) -> Any:
        _checked(params, rates)
        return inner.init(params)

    def update(updates: Params, state: Any, params: Params = None, **given: Any) -> tuple[Params, Any]:
        updates, state = inner.update(updates, state, params, **given)
        factors = values_by_path(updates, rates, name="rates")
        return jax.tree.map(lambda leaf, factor: (factor * leaf).astype(leaf.dtype), updates, factors), state

    return optax.GradientTransformationExtraArgs(init, update)


def _checked(params: Params, rates: ByPath) -> None:
    factors = jax.tree.leaves(values_by_path(params, rates, name="rates"))
    if wrong := [factor for factor in factors if not 0 < factor < math.inf]:
        raise ValueError(f"rates must be above 0; got {wrong[0]}: parameters that must not move are for trainable(...).")
    if all(factor == 1 for factor in factors):
        raise ValueError("rates must change the rate of at least one leaf; got 1 for all.")
