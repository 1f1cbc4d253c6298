"""Weighing by learned homoscedastic uncertainty (Kendall, Gal and Cipolla, 2018, 1705.07115), equations 7 and 10."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._named import per_task
from jmeta._presence import keep_absent
from jmeta._types import Tasks, Weighting

# A loss of exactly 0 lets its log-variance fall without end; the weight has to stay a number, because infinity times 0 is NaN.
LEAST = -80.0


class UncertaintyState(NamedTuple):
    """Attributes: ``log_variances [tasks]``, the state of their optimiser, and the ``factors [tasks]`` of their losses."""

    log_variances: jax.Array
    optimizer_state: optax.OptState
    factors: jax.Array


def uncertainty_weighting(
    optimizer: optax.GradientTransformation,
    *,
    classification: Mapping[str, bool] | Sequence[bool] | None = None,
    initial: float | Mapping[str, float] | Sequence[float] = 0.0,
) -> Weighting:
    r"""Learns a log-variance :math:`s_k` for each task beside the parameters.

    .. math:: \sum_k \frac{L_k}{2 e^{s_k}} + \frac{s_k}{2}

    with :math:`L_k / e^{s_k}` for a classification task. The weights are the factors before :math:`L_k`, so one backward pass
    gives exactly the gradient of this sum. A task that is absent from a batch keeps its log-variance.

    Args:
      optimizer: for the log-variances.
      classification: for each task, by name or in the order of the losses, whether its loss is a cross-entropy; all squared errors
        by default.
      initial: the first log-variances, one for all or for each task.

    Raises:
      ValueError: from ``init``, if an option names a task that is not there or has another length than there are tasks.
    """

    def init(tasks: Tasks) -> UncertaintyState:
        log_variances = jnp.asarray(per_task("initial", initial, tasks, 0.0), dtype=float)
        factors = jnp.where(jnp.asarray(per_task("classification", classification, tasks, False), bool), 1.0, 0.5)
        # An optimiser for each task, so that an absent one stands still in every respect.
        return UncertaintyState(log_variances, jax.vmap(optimizer.init)(log_variances), factors)

    def weigh(
        state: UncertaintyState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any
    ) -> tuple[jax.Array, Any]:
        del key, pullback
        weights = state.factors * jnp.exp(-jnp.maximum(state.log_variances, LEAST))
        gradient = 0.5 - weights * losses
        updates, optimizer_state = jax.vmap(optimizer.update)(gradient, state.optimizer_state, state.log_variances)
        log_variances = jnp.asarray(optax.apply_updates(state.log_variances, updates))
        return weights, keep_absent(present, UncertaintyState(log_variances, optimizer_state, state.factors), state)

    return Weighting(init, weigh)
