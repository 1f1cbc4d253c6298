"""Gradient sign dropout (Chen et al., 2020, 2010.06808), algorithm 1, lines 10 to 15.

What the paper does before with gradients of features, times the sign of the feature and summed over the batch, is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._named import per_task
from jmeta._types import Aggregator, Tasks
from jmeta.aggregation._gramian import weighted_sum


def graddrop(*, leak: float | Mapping[str, float] | Sequence[float] = 0.0) -> Aggregator:
    r"""Keeps in every element either the positive or the negative gradients, at random, and adds these up.

    .. math:: P = \frac{1}{2}\left(1 + \frac{\sum_i g_i}{\sum_i |g_i|}\right)

    is the chance of the positive ones, so that the sum is kept in expectation where they agree, and nothing is averaged where they
    do not. It needs the gradients themselves and not their products. Permutation-equivariant, strongly stationary.

    Args:
      leak: the part of each task's gradient that is never dropped, from 0 to 1; one for all, by name, or in the order of the
        losses.

    Raises:
      ValueError: from ``init``, if ``leak`` is not from 0 to 1, names a task that is not there, or is of another length than there
        are tasks; from ``combine`` without a key.
    """

    def init(tasks: Tasks) -> jax.Array:
        leaks = per_task("leak", leak, tasks, 0.0)
        if not ((leaks >= 0) & (leaks <= 1)).all():
            raise ValueError(f"leak must be from 0 to 1; got {leak}.")
        return jnp.asarray(leaks, dtype=float)

    def combine(
        gradients: Any, leaks: jax.Array, *, losses: jax.Array, present: jax.Array, key: jax.Array | None
    ) -> tuple[Any, jax.Array]:
        # An absent task has a gradient of zeros, which has no sign.
        del losses, present
        if key is None:
            raise ValueError("key must be given to graddrop; got None, expected a jax.random key.")
        leaves, structure = jax.tree.flatten(gradients)
        # One draw for all elements in a row: it is the same however they are divided into leaves.
        ends = [sum(leaf[0].size for leaf in leaves[: at + 1]) for at in range(len(leaves))]
        draws = jnp.split(jax.random.uniform(key, (ends[-1] if ends else 0,)), ends[:-1])
        return jax.tree.unflatten(structure, [_drop(*both, leaks) for both in zip(leaves, draws, strict=True)]), leaks

    return Aggregator(init, combine)


def _drop(leaf: jax.Array, draws: jax.Array, leaks: jax.Array) -> jax.Array:
    """Keeps one sign of gradients ``[tasks, ...]`` in each element, by one uniform number for each."""
    wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    positive, negative = jnp.maximum(wide, 0), jnp.minimum(wide, 0)
    up, down = (weighted_sum(jnp.ones(len(leaf)), part) for part in (positive, negative))
    size = up - down
    chosen = up > draws.reshape(size.shape).astype(size.dtype) * size
    kept = jnp.where(chosen, weighted_sum(1 - leaks, positive), weighted_sum(1 - leaks, negative))
    return (kept + weighted_sum(leaks, wide)).astype(leaf.dtype)
