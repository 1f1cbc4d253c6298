"""Conflict-averse gradient descent (Liu et al., 2021, 2110.14048), algorithm 1.

The authors' code solves the dual by SLSQP and multiplies the result by the number of tasks; here the problem is solved exactly and
the result is about as long as the mean, as in the paper.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import directions, follow


def cagrad(*, c: float = 0.5, rescale: bool = True) -> Aggregator:
    r"""Finds the direction near the mean gradient that is best for the task for which it is worst.

    .. math:: \max_d \min_i \langle g_i, d \rangle, \qquad |d - g_0| \le c |g_0|, \qquad g_0 = \frac{1}{K} \sum_i g_i

    Where several directions are as good, as where some gradients cancel, it is the one nearest to the mean.
    Permutation-equivariant, strongly stationary; with c >= 1 no task conflicts either.

    Args:
      c: how far from the mean the direction may be, in lengths of the mean; 0 gives the mean.
      rescale: divide by :math:`1 + c^2`, as the authors' code does.

    Raises:
      ValueError: if ``c`` is negative.
    """
    if not c >= 0:
        raise ValueError(f"c must not be negative; got {c}.")

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del losses, key
        mean = present.astype(gramian.dtype) / jnp.maximum(present.sum(), 1)
        weights = mean + _away(gramian, present, mean, c) if c else mean
        return weights / (1 + c**2) if rescale else weights, state

    return weighted_by_gramian(weigh)


def _away(gramian: jax.Array, present: jax.Array, mean: jax.Array, c: float) -> jax.Array:
    r"""Finds the weights ``[tasks]`` of what is added to the mean.

    The shortest u with :math:`\langle g_i, g_0 + c |g_0| u \rangle \ge t` for all i is a path in t, followed until u has length 1.
    """
    cosines, lengths, inverse = directions(gramian)
    products = gramian @ mean
    reach = c * jnp.sqrt(jnp.maximum(mean @ products, 0))
    there = lengths > 0
    safe_reach, shortest = jnp.where(reach > 0, reach, 1), jnp.where(there, lengths, jnp.inf).min()
    # Divided by the reach and by the lengths; t is in units of the reach times the shortest length.
    offset, slope = -inverse * products / safe_reach, jnp.where(there, shortest * inverse, 0)
    # No product with u is more than a length; and with a gradient of zeros none is more than 0.
    end = jnp.where((there | ~present).all(), (1 - offset / jnp.where(there, slope, 1)).max(where=there, initial=0), 0)
    added = inverse * follow(cosines, offset, slope, end=end, radius=1.0)
    # Shorter than 1 where the path ends before; longer by rounding alone.
    length = jnp.sqrt(jnp.maximum(added @ gramian @ added, 0))
    return reach * added / jnp.maximum(length, 1)
