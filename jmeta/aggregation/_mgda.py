"""The multiple-gradient descent algorithm (Sener and Koltun, 2018, 1810.04650), equation 3.

The authors' code approaches the minimum by 250 steps that may not get there, and keeps two tasks' weights from 0.001 to 0.999; here
it is exact. As there, gradients are normalised where they are weighed, and combined as they are.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import directions, non_negative

NORMALISATIONS = ("none", "l2", "loss", "loss+")


def mgda(*, normalise: Literal["none", "l2", "loss", "loss+"] = "none") -> Aggregator:
    r"""Takes the shortest vector in the convex hull of the task gradients, which is 0 where no direction serves all tasks.

    .. math:: \min_w \Big| \sum_i w_i g_i \Big|^2, \qquad w_i \ge 0, \qquad \sum_i w_i = 1

    Gradients with respect to shared features (``with_respect_to="features"``) make it MGDA-UB. Non-conflicting, as far as
    gradients are not normalised; permutation-equivariant.

    Args:
      normalise: what each gradient is divided by before the minimum is sought: ``"none"``, nothing; ``"l2"``, its length;
        ``"loss"``, its loss; ``"loss+"``, its loss times its length. Where that is 0, so is what is weighed.

    Raises:
      ValueError: if ``normalise`` is unknown.

    >>> import jax.numpy as jnp
    >>> rows, known = jnp.array([[2.0, 0.0], [0.0, 1.0]]), {"losses": jnp.ones(2), "present": jnp.ones(2, bool), "key": None}
    >>> gradient, _ = mgda().combine(rows, (), **known)
    >>> [round(float(entry), 4) for entry in gradient]
    [0.4, 0.8]
    """
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}; got {normalise!r}.")

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del key
        divisors = jnp.ones(len(gramian), gramian.dtype)
        if normalise in ("l2", "loss+"):
            divisors *= jnp.sqrt(jnp.diagonal(gramian))
        if normalise in ("loss", "loss+"):
            divisors *= jnp.abs(losses).astype(gramian.dtype)
        factors = jnp.where(divisors > 0, 1 / jnp.where(divisors > 0, divisors, 1), 0)
        return _nearest_to_zero(factors[:, None] * gramian * factors[None], present), state

    return weighted_by_gramian(weigh)


def _nearest_to_zero(gramian: jax.Array, present: jax.Array) -> jax.Array:
    """Finds the weights ``[tasks]`` of the point of the convex hull that is nearest to 0."""
    # Give every gradient one more coordinate s, and take the combination v >= 0 nearest to (0, ..., 0, 1). Of all that have the
    # same sum of v, it is the one whose first part is shortest: the point that is sought, times that sum, which is free.
    squares = jnp.diagonal(gramian)
    smallest = jnp.where(squares > 0, squares, jnp.inf).min()
    shift = jnp.where(jnp.isfinite(smallest), smallest, 1)
    raised = directions(jnp.where(present[:, None] & present[None], gramian + shift, 0))
    combined = raised.inverse * non_negative(raised.cosines, jnp.sqrt(shift) * raised.inverse)
    total = combined.sum()
    return combined / jnp.where(total > 0, total, 1)
