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

# A block of this many columns stays in the cache of a CPU core: 1 MB for 64 tasks in float32.
BLOCK = 4096


def gramian(gradients: Any) -> jax.Array:
    """Computes all inner products ``[tasks, tasks]`` of task gradients, leaves ``[tasks, ...]``."""
    flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(gradients)]
    return jnp.sum(jnp.stack([_products(leaf) for leaf in flat]), axis=0)


def weighted_by_gramian(weigh: Weigh) -> optax.GradientTransformationExtraArgs:
    """Makes an aggregator of ``weigh(gramian [tasks, tasks], key) -> weights [tasks]``."""

    def update(updates: Any, state: Any, params: Any = None, *, key: jax.Array | None = None, **extra: Any) -> Any:
        del params, extra
        weights = weigh(gramian(updates), key)
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _products(rows: jax.Array) -> jax.Array:
    """Inner products ``[tasks, tasks]`` of rows ``[tasks, n]``."""
    # On the CPU one product sums its long axis on one core and out of cache; accelerators split that axis themselves.
    if rows.shape[1] < 2 * BLOCK:
        return _product(rows, rows)
    return jax.lax.platform_dependent(rows, cpu=_products_in_blocks, default=lambda rows: _product(rows, rows))


def _products_in_blocks(rows: jax.Array) -> jax.Array:
    tasks, length = rows.shape
    blocks = length // BLOCK

    def add(block: jax.Array, total: jax.Array) -> jax.Array:
        return total + _symmetric_product(jax.lax.dynamic_slice_in_dim(rows, block * BLOCK, BLOCK, axis=1))

    total = jax.lax.fori_loop(0, blocks, add, jnp.zeros((tasks, tasks), rows.dtype), unroll=2)
    return total + _product(rows[:, blocks * BLOCK :], rows[:, blocks * BLOCK :])


def _symmetric_product(rows: jax.Array) -> jax.Array:
    """Leaves out the block below the diagonal, where the three others are large enough to run at full rate."""
    half = len(rows) // 2
    if half < 8:
        return _product(rows, rows)
    first, second = rows[:half], rows[half:]
    corner = _product(first, second)
    return jnp.block([[_product(first, first), corner], [corner.T, _product(second, second)]])


def _product(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.matmul(first, second.T, precision="highest")
