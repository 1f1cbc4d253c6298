"""Projecting conflicting gradients (Yu et al., 2020, 2001.06782), algorithm 1."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian


def pcgrad(*, shuffle: bool = True) -> Aggregator:
    r"""Removes from each task's gradient what conflicts with the others', then adds them up.

    For each task i and the other tasks j in random order, where :math:`g_i'` (running) and :math:`g_j` (original) point apart:

    .. math:: g_i' \leftarrow g_i' - \frac{\langle g_i', g_j \rangle}{|g_j|^2} g_j

    Shuffled it is permutation-equivariant in distribution; linear under scaling, strongly stationary.

    Args:
      shuffle: go through the other tasks in a random order for each task, as the paper does; False takes the task order.

    Raises:
      ValueError: from ``combine``, if it shuffles and is given no key.
    """

    def weigh(
        gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        # An absent task has a gradient of zeros, with which nothing conflicts.
        del losses, present
        tasks = gramian.shape[0]
        if shuffle and key is None:
            raise ValueError("key must be given to pcgrad(shuffle=True); got None, expected a jax.random key.")
        orders = jnp.tile(jnp.arange(tasks), (tasks, 1))
        orders = orders if key is None or not shuffle else jax.random.permutation(key, orders, axis=1, independent=True)

        def surgery(task: jax.Array, order: jax.Array) -> jax.Array:
            def project(coefficients: jax.Array, other: jax.Array) -> tuple[jax.Array, None]:
                product, square = coefficients @ gramian[:, other], gramian[other, other]
                conflict = (product < 0) & (other != task) & (square > 0)
                return coefficients.at[other].add(jnp.where(conflict, -product / jnp.where(conflict, square, 1), 0)), None

            coefficients = jnp.zeros(tasks, gramian.dtype).at[task].set(1)
            return jax.lax.scan(project, coefficients, order)[0]

        return jax.vmap(surgery)(jnp.arange(tasks), orders).sum(axis=0), state

    return weighted_by_gramian(weigh)
