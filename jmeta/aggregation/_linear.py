"""The plain sum and mean of task gradients, as aggregators."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_sum


# The public names are those of the arithmetic, like jnp.sum.
def sum() -> Aggregator:  # noqa: A001
    """Adds up the gradients ``[tasks, ...]`` of all tasks: permutation-equivariant, linear under scaling, strongly stationary."""

    def combine(gradients: Any, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        del losses, present, key
        return jax.tree.map(lambda leaf: weighted_sum(jnp.ones(len(leaf)), leaf), gradients), state

    return Aggregator(lambda tasks: (), combine)


def mean() -> Aggregator:
    """Averages the gradients ``[tasks, ...]`` of the tasks that are present.

    Permutation-equivariant, linear under scaling, strongly stationary.
    """

    def combine(gradients: Any, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        del losses, key
        weights = present / jnp.maximum(present.sum(), 1)
        return jax.tree.map(lambda leaf: weighted_sum(weights, leaf), gradients), state

    return Aggregator(lambda tasks: (), combine)
