"""Multi-task learning as a bargaining game (Navon et al., 2022, 2202.01017), algorithm 1.

The authors' code comes near the solution by up to 20 convex programs, of gradients as long as they are; here Newton steps solve the
same equations of unit gradients, so that a long gradient does not hide the others. The scale of the weights is that of their code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta._named import count_of
from jmeta._options import check_counts, check_positive
from jmeta._types import Aggregator, Tasks
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._solvers import bargain, directions


class NashState(NamedTuple):
    """Attributes: ``shares [tasks]``, the last solution of unit gradients; the ``weights [tasks]`` it gave; ``steps`` so far."""

    shares: jax.Array
    weights: jax.Array
    steps: jax.Array


def nash_mtl(*, update_every: int = 1, max_norm: float | None = 1.0) -> Aggregator:
    r"""Finds the Nash bargaining solution, in which no task can gain in relation more than the others lose.

    .. math:: G a = 1 / a \text{ elementwise}, \qquad \text{the gradient } \sqrt{|G|_F} \sum_i a_i g_i

    Its direction does not depend on how long each gradient is. The search starts from the last solution. A gradient of zeros has no
    part. Non-conflicting, permutation-equivariant, strongly stationary.

    Args:
      update_every: after how many steps the weights are found anew; in between they stay.
      max_norm: the length to which the result is cut, if it is longer; None does not cut. A result that is not cut is
        :math:`\sqrt{K |G|_F}` long.

    Raises:
      ValueError: if ``update_every`` is below 1, or ``max_norm`` is not positive.
    """
    check_counts(update_every=update_every)
    if max_norm is not None:
        check_positive(max_norm=max_norm)

    def init(tasks: Tasks) -> NashState:
        ones = jnp.ones(count_of(tasks))
        return NashState(ones, ones, jnp.zeros((), int))

    def weigh(
        gramian: jax.Array, state: NashState, *, losses: jax.Array, present: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, NashState]:
        del losses, key
        shares, weights = jax.lax.cond(
            state.steps % update_every == 0, lambda: _solution(gramian, state), lambda: (state.shares, state.weights)
        )
        given = jnp.where(present, weights, 0).astype(gramian.dtype)
        if max_norm is not None:
            length = jnp.sqrt(jnp.maximum(given @ gramian @ given, 0))
            given = given * (max_norm / jnp.maximum(length, max_norm))
        return given, NashState(shares, weights, state.steps + present.any())

    return weighted_by_gramian(weigh, init)


def _solution(gramian: jax.Array, state: NashState) -> tuple[jax.Array, jax.Array]:
    """Finds shares and weights ``[tasks]``; those of a task without a gradient stay."""
    cosines, lengths, inverse = directions(gramian)
    there, longest = lengths > 0, jnp.maximum(lengths.max(), jnp.finfo(lengths.dtype).tiny)
    start = jnp.where(there, state.shares, 1).astype(gramian.dtype)
    solved = bargain(cosines, jnp.ones_like(start), start, exponent=1.0)
    # Squares of lengths would overflow when squared again.
    ratios = lengths / longest
    scale = longest * jnp.sqrt(jnp.linalg.norm(cosines * ratios[:, None] * ratios[None]))
    found = (solved, scale * solved * inverse)
    shares, weights = (jnp.where(there, new, old).astype(old.dtype) for new, old in zip(found, state, strict=False))
    return shares, weights
