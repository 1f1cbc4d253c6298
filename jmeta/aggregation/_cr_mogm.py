"""Correlation-reduced multi-objective gradient manipulation (Zhou et al., 2022).

"On the Convergence of Stochastic Multi-Objective Gradient Manipulation and Beyond", NeurIPS.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._named import count_of
from jmeta._options import check_share
from jmeta._types import Aggregator, Tasks
from jmeta.aggregation._gramian import weighted_by_gramian


class SmoothedState(NamedTuple):
    """Attributes: the state of what is ``smoothed``, the ``weights [tasks]`` so far, and which tasks were ``seen [tasks]``."""

    smoothed: Any
    weights: jax.Array
    seen: jax.Array


def cr_mogm(aggregator: Aggregator, *, decay: float = 0.9) -> Aggregator:
    r"""Smooths the weights of another aggregator over time, so that they depend less on the noise of the gradients they weigh.

    .. math:: \lambda_t = d\, \lambda_{t-1} + (1 - d)\, \hat\lambda_t

    A task's first weight is that of the aggregator, unsmoothed. The weights of an absent task stand still. The paper lets
    the decay near 1 while the learning rate falls; here it is constant, as in TorchJD.
    Permutation-equivariant where what it smooths is; conflicts may come back for a while.

    Args:
      aggregator: one that weighs by the Gramian, such as ``pcgrad()``, or one of :func:`jmeta.weighted_by_gramian`.
      decay: d, how much of the last weights stays in a step, from 0 to 1.

    Raises:
      ValueError: if the aggregator does not weigh by the Gramian, or ``decay`` is not from 0 to 1.
    """
    if aggregator.weigh is None:
        raise ValueError("aggregator must weigh by the Gramian, like pcgrad(); got one without weigh, such as sum() or graddrop().")
    check_share(decay=decay)
    weigh_now = aggregator.weigh

    def init(tasks: Tasks) -> SmoothedState:
        count = count_of(tasks)
        return SmoothedState(aggregator.init(tasks), jnp.zeros(count), jnp.zeros(count, bool))

    def weigh(
        gramian: jax.Array, state: SmoothedState, *, losses: jax.Array, present: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, SmoothedState]:
        latest, inner = weigh_now(gramian, state.smoothed, losses=losses, present=present, key=key)
        last = state.weights.astype(latest.dtype)
        weights = jnp.where(state.seen, decay * last + (1 - decay) * latest, latest)
        weights = jnp.where(present, weights, last)
        return weights, SmoothedState(inner, weights.astype(state.weights.dtype), state.seen | present)

    return weighted_by_gramian(weigh, init)
