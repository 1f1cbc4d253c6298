"""Random loss weighting (Lin, Ye, Zhang and Tsang, 2022, 2111.10603), with normal draws."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Tasks, Weighting


def random_weighting() -> Weighting:
    """Weighs the tasks at every step with the softmax of standard normal draws.

    The weights sum to 1, as in the paper, so a step is on average that of the mean of the losses, where ``equal_weighting`` takes
    their sum. The other distributions of the paper are left out.
    """

    def init(tasks: Tasks) -> Any:
        del tasks
        return ()

    def weigh(state: Any, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any) -> tuple[jax.Array, Any]:
        del pullback
        dtype = jnp.promote_types(losses.dtype, jnp.float32)
        # The n-th task that is present has the n-th draw, whoever is absent before it.
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.cumsum(present))
        draws = jax.vmap(lambda key: jax.random.normal(key, dtype=dtype))(keys)
        return jax.nn.softmax(draws, where=present), state

    return Weighting(init, weigh)
