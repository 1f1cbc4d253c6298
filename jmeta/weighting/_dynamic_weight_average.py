"""Dynamic weight average (Liu, Johns and Davison, 2019, 1803.10704)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._named import count_of
from jmeta._options import check_counts, check_positive
from jmeta._types import Tasks, Weighting

# The softmax of infinity is NaN.
LARGEST = 1e30


class DynamicWeightAverageState(NamedTuple):
    """What is known of the epochs.

    Attributes:
      means: ``[tasks]``, the mean losses of the epoch so far.
      counts: ``[tasks]``, how many losses they are of.
      last: ``[tasks]``, the mean losses of the last epoch; 0 before there is one.
      before: ``[tasks]``, those of the epoch before it.
      steps: how many the epoch has had.
    """

    means: jax.Array
    counts: jax.Array
    last: jax.Array
    before: jax.Array
    steps: jax.Array


def dynamic_weight_average(*, steps_per_epoch: int, temperature: float = 2.0) -> Weighting:
    r"""Gives more weight to the tasks whose mean losses fell least from one epoch to the next.

    .. math:: w_k = K \frac{e^{r_k / T}}{\sum_i e^{r_i / T}}, \qquad r_k = \frac{L_k(t - 1)}{L_k(t - 2)}

    In the first two epochs, and for a task without two epochs behind it, :math:`r_k` is 1. An epoch in which a task was never
    present is none for it. The ratio is one of positive losses: it is 1 where the earlier mean is 0 or negative, and 0 where only
    the later is.

    Args:
      steps_per_epoch: over how many steps losses are averaged before they are compared.
      temperature: T; the higher, the more alike the weights.

    Raises:
      ValueError: if ``steps_per_epoch`` is not a whole number of at least 1, or ``temperature`` is not positive.
    """
    check_counts(steps_per_epoch=steps_per_epoch)
    check_positive(temperature=temperature)

    def init(tasks: Tasks) -> DynamicWeightAverageState:
        count = count_of(tasks)
        means, last, before = (jnp.zeros(count) for _ in range(3))
        return DynamicWeightAverageState(means, jnp.zeros(count, jnp.int32), last, before, jnp.zeros((), jnp.int32))

    def weigh(
        state: DynamicWeightAverageState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any
    ) -> tuple[jax.Array, Any]:
        del key, pullback
        known = state.before > 0
        ratios = jnp.where(known, jnp.clip(state.last / jnp.where(known, state.before, 1), 0, LARGEST), 1)
        weights = present.sum() * jax.nn.softmax(ratios / temperature, where=present)
        counts = state.counts + present
        # Running means, because a sum of large losses is infinite.
        means = state.means + jnp.where(present, (losses - state.means) / jnp.maximum(counts, 1), 0)
        ended = state.steps + 1 == steps_per_epoch
        compared = ended & (counts > 0)
        return weights, DynamicWeightAverageState(
            jnp.where(ended, 0, means),
            jnp.where(ended, 0, counts),
            jnp.where(compared, means, state.last),
            jnp.where(compared, state.last, state.before),
            jnp.where(ended, 0, state.steps + 1),
        )

    return Weighting(init, weigh)
