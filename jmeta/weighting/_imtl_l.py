"""Impartial multi-task learning by losses, IMTL-L (Liu, Li, Kuang et al., 2021, *Towards Impartial Multi-task Learning*)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._named import count_of
from jmeta._presence import keep_absent
from jmeta._types import Tasks, Weighting

# A loss of exactly 0 lets its logarithm of a scale rise without end; the weight has to stay a number.
LARGEST = 80.0
# The square of a derivative, which Adam keeps, has to be finite in float32.
STEEPEST = 1e18


class ImtlState(NamedTuple):
    """Attributes: ``log_scales [tasks]`` and the state of their optimiser."""

    log_scales: jax.Array
    optimizer_state: optax.OptState


def imtl_l(optimizer: optax.GradientTransformation) -> Weighting:
    r"""Learns a scale :math:`e^{s_k}` for each task beside the parameters, so that all scaled losses become 1.

    .. math:: \sum_k e^{s_k} L_k - s_k

    The weights are :math:`e^{s_k}`, so one backward pass gives exactly the gradient of this sum. A task that is absent from a batch
    keeps its scale. There is a best scale for a positive loss alone; that of a loss of 0 or less grows to at most e^80.

    The gradient balance of the same paper, IMTL-G, is an aggregator.

    Args:
      optimizer: for the logarithms of the scales, which begin at 0.
    """

    def init(tasks: Tasks) -> ImtlState:
        log_scales = jnp.zeros(count_of(tasks))
        # An optimiser for each task, so that an absent one stands still in every respect.
        return ImtlState(log_scales, jax.vmap(optimizer.init)(log_scales))

    def weigh(state: ImtlState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any) -> tuple[jax.Array, Any]:
        del key, pullback
        weights = jnp.exp(jnp.minimum(state.log_scales, LARGEST))
        gradient = jnp.clip(weights * losses, -STEEPEST, STEEPEST) - 1
        updates, optimizer_state = jax.vmap(optimizer.update)(gradient, state.optimizer_state, state.log_scales)
        log_scales = jnp.asarray(optax.apply_updates(state.log_scales, updates))
        return weights, keep_absent(present, ImtlState(log_scales, optimizer_state), state)

    return Weighting(init, weigh)
