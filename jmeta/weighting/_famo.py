"""Fast adaptive multitask optimisation, FAMO (Liu, Feng, Stone and Liu, 2023, 2306.03792), algorithm 1."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._named import per_task
from jmeta._presence import keep_absent
from jmeta._types import Tasks, Weighting

# Added to every loss, as in the authors' code.
EPSILON = 1e-8


class FamoState(NamedTuple):
    """What is kept of each task.

    Attributes:
      logits: ``[tasks]``; their softmax is the share of each task.
      optimizer_state: of the logits.
      lower_bounds: ``[tasks]`` of the losses.
      logs: ``[tasks]``, the logarithms of the losses before the step.
    """

    logits: jax.Array
    optimizer_state: optax.OptState
    lower_bounds: jax.Array
    logs: jax.Array


def famo(
    optimizer: optax.GradientTransformation,
    *,
    decay: float = 0.001,
    lower_bounds: float | Mapping[str, float] | Sequence[float] = 0.0,
) -> Weighting:
    r"""Lets all losses fall at the same relative rate, by what the last step did to them; the losses are computed once more for it.

    .. math:: c \sum_k z_k \log(L_k - b_k), \qquad z = \mathrm{softmax}(\xi), \qquad c = 1 \Big/ \sum_k \frac{z_k}{L_k - b_k}

    The weights are the derivatives by :math:`L_k` with c as a constant, so they sum to 1. After the step :math:`\xi` descends along
    :math:`J^\top (\log(L - b) - \log(L' - b)) + \gamma \xi`, with J the Jacobian of the softmax and L' the losses after it. A
    task that is absent from a batch keeps its logit.

    The paper descends on :math:`\xi` plainly, as ``optax.sgd`` does; the authors' code uses ``optax.adam(0.025)``, with a decay of
    0.001 on NYUv2, QM9 and CelebA and of 0.01 elsewhere, and clips the gradient of what the tasks share to a norm of 1, which here
    is up to the optimiser of the parameters. As in their code 1e-8 is added to each loss; one below its bound counts as at it.

    Args:
      optimizer: for the logits, which begin at 0.
      decay: :math:`\gamma`, added to the gradient before the optimiser sees it, not decoupled as in AdamW.
      lower_bounds: b, one for all or for each task, by name or in the order of the losses.

    Raises:
      ValueError: from ``init``, if an option names a task that is not there or has another length than there are tasks.
    """

    def init(tasks: Tasks) -> FamoState:
        bounds = jnp.asarray(per_task("lower_bounds", lower_bounds, tasks, 0.0), dtype=float)
        logits = jnp.zeros_like(bounds)
        # An optimiser for each task, so that an absent one stands still in every respect.
        return FamoState(logits, jax.vmap(optimizer.init)(logits), bounds, jnp.zeros_like(bounds))

    def log_of(losses: jax.Array, state: FamoState) -> jax.Array:
        return jnp.log(jnp.maximum(losses.astype(state.logits.dtype) - state.lower_bounds, 0) + EPSILON)

    def weigh(state: FamoState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any) -> tuple[jax.Array, Any]:
        del key, pullback
        logs = log_of(losses, state)
        # c z / (L - b) in logarithms: no loss is too large or too small for it.
        weights = jax.nn.softmax(state.logits - logs, where=present)
        return weights, keep_absent(present, state._replace(logs=logs), state)

    def observe(state: FamoState, losses: jax.Array, *, present: jax.Array) -> FamoState:
        fallen = state.logs - log_of(losses, state)
        shares = jax.nn.softmax(state.logits, where=present)
        gradient = shares * (fallen - (shares * fallen).sum()) + decay * state.logits
        updates, optimizer_state = jax.vmap(optimizer.update)(gradient, state.optimizer_state, state.logits)
        logits = jnp.asarray(optax.apply_updates(state.logits, updates))
        return keep_absent(present, state._replace(logits=logits, optimizer_state=optimizer_state), state)

    return Weighting(init, weigh, observe)
