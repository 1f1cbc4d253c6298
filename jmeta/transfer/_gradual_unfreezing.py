"""Gradual unfreezing (Howard and Ruder, 2018, 1801.06146), section 3.3.

The paper unfreezes a layer more after each epoch, the last one first.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._optimizers import trainable
from jmeta._options import check_counts
from jmeta._paths import ByPath, values_by_path
from jmeta._types import Params


def gradual_unfreezing(optimizer: optax.GradientTransformation, steps: ByPath) -> optax.GradientTransformationExtraArgs:
    """Freezes each layer until a step of its own.

    Layers that begin together have an optimiser of their own, whose state does not change before: averages and their corrections
    begin when the layer does, as if it had been trained alone. So a norm over all parameters, such as that of clipping, goes
    before this.

    >>> import jax.numpy as jnp
    >>> optimizer = gradual_unfreezing(optax.sgd(1.0), {"encoder": 100, "head": 0})
    >>> params = {"encoder": jnp.ones(1), "head": jnp.ones(1)}
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> optax.apply_updates(params, updates)["encoder"].tolist()
    [1.0]

    Args:
      optimizer: any optax transformation.
      steps: the first step that moves a leaf, counted from 0: a function of paths such as ``"encoder/Dense_0/kernel"``, or a prefix
        of the parameters with whole numbers.

    Raises:
      ValueError: from ``init``, if all are 0, so that nothing is frozen, one is no whole number of at least 0, or the prefix does
        not fit.
    """

    def parts(params: Params) -> list[tuple[int, optax.GradientTransformation]]:
        """Gives each step at which something begins, and an optimiser of what does."""
        begin = values_by_path(params, steps, name="steps")
        for step in (found := jax.tree.leaves(begin)):
            check_counts(0, steps=step)
        if not any(found):
            raise ValueError("steps must be above 0 for at least one leaf; got 0 for all, which freezes nothing.")
        begins = [(step, jax.tree.map(lambda value, step=step: value == step, begin)) for step in sorted(set(found))]
        return [(step, trainable(optimizer, marks)) for step, marks in begins]

    def init(params: Params) -> Any:
        return jnp.zeros((), jnp.int32), [part.init(params) for _, part in parts(params)]

    def update(updates: Params, state: Any, params: Params = None, **given: Any) -> tuple[Params, Any]:
        now, states = state
        # Minus zero, which added to anything leaves every bit of it.
        still = jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), updates)
        moved, after = still, []
        for (step, part), before in zip(parts(params), states, strict=True):
            new, new_state = optax.with_extra_args_support(part).update(updates, before, params, **given)
            moved = optax.tree.add(moved, optax.tree.where(now >= step, new, still))
            after.append(optax.tree.where(now >= step, new_state, before))
        return moved, (optax.safe_increment(now), after)

    return optax.GradientTransformationExtraArgs(init, update)
