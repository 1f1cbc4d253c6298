"""Equal weights: the sum of the losses."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Weighting


def equal_weighting() -> Weighting:
    """Weighs every task with 1."""

    def init(num_tasks: int) -> Any:
        del num_tasks
        return ()

    def weigh(state: Any, losses: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del key
        return jnp.ones_like(losses), state

    return Weighting(init, weigh)
