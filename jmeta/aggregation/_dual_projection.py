"""The projection of the mean gradient onto the dual cone (Quinton and Rey, 2024, 2406.16232, section 4).

Lopez-Paz and Ranzato (2017, 1706.08840, equation 11) do the same with the gradient of the present task and those of earlier ones.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import directions, non_negative


def dual_projection() -> Aggregator:
    r"""Projects the mean of the task gradients onto the directions that conflict with no task.

    .. math:: \operatorname{argmin}_d |d - \bar g|^2, \qquad \langle d, g_j \rangle \ge 0 \text{ for all } j

    Non-conflicting, permutation-equivariant, strongly stationary.
    """

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del losses, key
        cosines, lengths, inverse = directions(gramian)
        longest = lengths.max()
        parts = lengths / jnp.where(longest > 0, longest, 1)
        added = non_negative(cosines, -(cosines @ parts))
        return inverse * longest * (parts + added) / jnp.maximum(present.sum(), 1), state

    return weighted_by_gramian(weigh)
