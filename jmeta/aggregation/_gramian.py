"""Aggregators that see the task gradients only through their inner products.

Whatever combines the gradients linearly, with factors that depend on their angles and lengths, is a map from the Gramian
``[tasks, tasks]`` to weights ``[tasks]``; parameters are touched twice, for the products and for the weighted sum.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator, Tasks

# (gramian [tasks, tasks], state, *, losses [tasks], present [tasks], key) -> (weights [tasks], state)
Weigh = Callable[..., tuple[jax.Array, Any]]

# A block of this many columns stays in the cache of a CPU core: 1 MB for 64 tasks in float32.
BLOCK = 4096


def gramian(gradients: Any) -> jax.Array:
    """Computes all inner products ``[tasks, tasks]`` of task gradients, leaves ``[tasks, ...]``.

    The products are sums in float32 at least, whatever the types of the leaves.

    Raises:
      ValueError: if there is no leaf.
    """
    flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(gradients)]
    if not flat:
        raise ValueError("gradients must hold a parameter to be compared by; got none: the tasks share nothing.")
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in flat]
    return jnp.sum(jnp.stack([_products(leaf) for leaf in wide]), axis=0)


def weighted_by_gramian(weigh: Weigh, init: Callable[[Tasks], Any] = lambda tasks: ()) -> Aggregator:
    """Makes an aggregator of a map from the Gramian to weights: the gradient is the weighted sum, each leaf in its own type.

    Args:
      weigh: ``(gramian [tasks, tasks], state, *, losses [tasks], present [tasks], key) -> (weights [tasks], state)``. The row and
        the column of an absent task are zeros.
      init: ``(tasks) -> state``.
    """

    def combine(gradients: Any, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        weights, state = weigh(gramian(gradients), state, losses=losses, present=present, key=key)
        return jax.tree.map(lambda leaf: weighted_sum(weights, leaf), gradients), state

    return Aggregator(init, combine, weigh)


def weighted_sum(weights: jax.Array, leaf: jax.Array) -> jax.Array:
    """Adds up a leaf ``[tasks, ...]`` with weights ``[tasks]``, in float32 at least, and rounds to the type of the leaf once."""
    # A product runs at the rate of memory on every device; on the CPU a sum over the first axis is 30 times slower.
    wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    return jnp.tensordot(weights.astype(wide.dtype), wide, axes=1, precision="highest").astype(leaf.dtype)


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
