"""Equal weights: the sum of the losses."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Tasks, Weighting


def equal_weighting() -> Weighting:
    """Weighs every task with 1."""

    def init(tasks: Tasks) -> Any:
        del tasks
        return ()

    def weigh(state: Any, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any) -> tuple[jax.Array, Any]:
        del present, key, pullback
        return jnp.ones_like(losses), state

    return Weighting(init, weigh)
