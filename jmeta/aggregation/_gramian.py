"""Aggregators that see the task gradients only through their inner products.

Whatever combines the gradients linearly, with factors that depend on their angles and lengths, is a map from the Gramian
``[tasks, tasks]`` to weights ``[tasks]``; parameters are touched twice, for the products and for the weighted sum.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Weigh = Callable[[jax.Array, jax.Array | None], jax.Array]


def gramian(gradients: Any) -> jax.Array:
    """Computes all inner products ``[tasks, tasks]`` of task gradients, leaves ``[tasks, ...]``."""
    flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(gradients)]
    return jnp.sum(jnp.stack([jnp.matmul(leaf, leaf.T, precision="highest") for leaf in flat]), axis=0)


def weighted_by_gramian(weigh: Weigh) -> optax.GradientTransformationExtraArgs:
    """Makes an aggregator of ``weigh(gramian [tasks, tasks], key) -> weights [tasks]``."""

    def update(updates: Any, state: Any, params: Any = None, *, key: jax.Array | None = None, **extra: Any) -> Any:
        del params, extra
        weights = weigh(gramian(updates), key)
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
