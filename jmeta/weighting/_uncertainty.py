"""Weighing by learned homoscedastic uncertainty (Kendall, Gal and Cipolla, 2018, 1705.07115), equations 7 and 10."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._types import Weighting


class UncertaintyState(NamedTuple):
    """Attributes: ``log_variances [tasks]`` and the state of their optimiser."""

    log_variances: jax.Array
    optimizer_state: optax.OptState


def uncertainty_weighting(
    optimizer: optax.GradientTransformation, *, classification: tuple[bool, ...] | None = None, initial: float = 0.0
) -> Weighting:
    r"""Learns a log-variance :math:`s_k` for each task beside the parameters.

    .. math:: \sum_k \frac{L_k}{2 e^{s_k}} + \frac{s_k}{2}

    with :math:`L_k / e^{s_k}` for a classification task. The weights are the factors before :math:`L_k`, so one backward pass
    gives exactly the gradient of this sum.

    Args:
      optimizer: for the log-variances.
      classification: for each task, in the order of the losses, whether its loss is a cross-entropy; all squared errors by default.
      initial: the first log-variances.

    Raises:
      ValueError: if ``classification`` has another length than there are tasks.
    """

    def init(num_tasks: int) -> UncertaintyState:
        if classification is not None and len(classification) != num_tasks:
            raise ValueError(f"classification must have one entry per task; got {len(classification)} for {num_tasks} tasks.")
        log_variances = jnp.full(num_tasks, initial, dtype=float)
        return UncertaintyState(log_variances, optimizer.init(log_variances))

    def weigh(state: UncertaintyState, losses: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del key
        factors = jnp.where(jnp.array(classification or (False,) * len(losses)), 1.0, 0.5)
        weights = factors * jnp.exp(-state.log_variances)
        gradient = 0.5 - weights * losses
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.log_variances)
        log_variances = jnp.asarray(optax.apply_updates(state.log_variances, updates))
        return weights, UncertaintyState(log_variances, optimizer_state)

    return Weighting(init, weigh)
