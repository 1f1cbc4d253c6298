r"""Fair resource allocation between tasks (Ban and Ji, 2024, 2402.15638), equation 4.

The authors' code finds the weights by least squares of gradients as long as they are; here Newton steps solve the same equations of
unit gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import bargain, directions


def fairgrad(*, alpha: float = 2.0) -> Aggregator:
    r"""Gives each task a fair share of the progress, by the utility of alpha-fairness.

    .. math:: G a = a^{-1/\alpha} \text{ elementwise}, \qquad \text{the gradient } \sum_i a_i g_i

    With 1 these are the equations of :func:`jmeta.nash_mtl`; the larger alpha, the more counts the task that gains least. Above 1
    the result gets longer as gradients get shorter. A gradient of zeros has no part.
    Non-conflicting, permutation-equivariant, strongly stationary.

    Args:
      alpha: 2 in all runs that the authors published.

    Raises:
      ValueError: if ``alpha`` is not positive.
    """
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be positive and finite; got {alpha}.")
    exponent = 1 / alpha

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del losses, present, key
        cosines, lengths, inverse = directions(gramian)
        longest = jnp.where(lengths.max() > 0, lengths.max(), 1)
        ratios = jnp.where(lengths > 0, lengths / longest, 1)
        # With shares b = a |g|, C b = |g|^(p - 1) b^(-p); of orthogonal gradients they are |g|^((p - 1) / (p + 1)).
        power = (exponent - 1) / (exponent + 1)
        shares = bargain(cosines, ratios ** (exponent - 1), ratios**power, exponent=exponent)
        return longest**power * inverse * shares, state

    return weighted_by_gramian(weigh)
