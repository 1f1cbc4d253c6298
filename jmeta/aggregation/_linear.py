"""The plain sum and mean of task gradients, as aggregators."""

from collections.abc import Callable
from typing import Any

import jax
import optax


# The public names are those of the arithmetic, like jnp.sum.
def sum() -> optax.GradientTransformationExtraArgs:  # noqa: A001
    """Adds up the gradients ``[tasks, ...]`` of all tasks."""
    return _stateless(lambda gradients: gradients.sum(axis=0))


def mean() -> optax.GradientTransformationExtraArgs:
    """Averages the gradients ``[tasks, ...]`` of all tasks."""
    return _stateless(lambda gradients: gradients.mean(axis=0))


def _stateless(reduce: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformationExtraArgs:
    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del params, extra
        return jax.tree.map(reduce, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
