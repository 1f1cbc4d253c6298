"""Unconflicting projection of gradients (Quinton and Rey, 2024, 2406.16232), equation 4.

TorchJD adds to the quadratic program 1e-4 of the squared lengths of all gradients together, by which its result may conflict with
short ones; here nothing is added.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import directions, non_negative


def upgrad() -> Aggregator:
    r"""Projects each task's gradient onto the directions that conflict with no task, then averages.

    .. math:: \frac{1}{K} \sum_i \operatorname{argmin}_d |d - g_i|^2, \qquad \langle d, g_j \rangle \ge 0 \text{ for all } j

    The projection is :math:`g_i + \sum_j z_j g_j` with the least :math:`z \ge 0` that lifts the products to 0.
    Non-conflicting, permutation-equivariant, linear under scaling, strongly stationary.
    """

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del losses, key
        cosines, lengths, inverse = directions(gramian)
        # Of unit gradients; the projection of one that is twice as long is twice as long.
        added = jax.vmap(lambda products: non_negative(cosines, -products))(cosines)
        return inverse * (lengths + lengths @ added) / jnp.maximum(present.sum(), 1), state

    return weighted_by_gramian(weigh)
