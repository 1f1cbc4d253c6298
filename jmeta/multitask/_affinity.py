"""Which tasks help which: inter-task affinity (Fifty et al., 2021, 2109.04617), equation 1.

The authors' code divides it by the step size besides, adds weight decay to the step, and measures every tenth batch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._objectives import gives_gradients, is_per_task, joint_gradients, task_gradients
from jmeta._types import PRESENT, EncoderHead, Objective, Params


class Affinity(NamedTuple):
    """Inter-task affinity, added up over the steps at which it was measured: ``jax.tree.map(jnp.add, one, other)`` is of both.

    Attributes:
      total: ``[tasks, tasks]``, the sum over those steps at which both tasks were present; entry (i, j) is that of i onto j.
      count: ``[tasks, tasks]``, how many steps that were.
    """

    total: jax.Array
    count: jax.Array

    @property
    def mean(self) -> jax.Array:
        """``[tasks, tasks]``, the mean over the steps; NaN, which stands for nothing, where two tasks never met."""
        return jnp.where(self.count > 0, self.total / jnp.maximum(self.count, 1), jnp.nan)


def task_affinity(losses: Objective, *, step_size: float | Callable[[Any], Any]) -> Callable[..., Affinity]:
    r"""Measures how much a step on one task alone, along what the tasks share, lowers the loss of each.

    .. math:: Z_{i \to j} = \frac{L_j(\theta) - L_j(\theta - \eta \nabla_\theta L_i(\theta))}{|L_j(\theta)|}

    with the shared parameters :math:`\theta`; heads stay as they are, and what is drawn at random is the same before and after. Above
    0 task i helps task j, below it harms. To first order this is :math:`\eta \langle g_i, g_j \rangle / |L_j|`, so that affinities
    are compared at one step size only. An absent task, and one whose loss is 0, counts in no entry. It costs one gradient per task,
    and as many times the losses as there are tasks, one after another; :func:`jmeta.measured` takes it every so many steps.

    Args:
      losses: ``jmeta.task_losses(...)``, or the ``joint_losses`` of a multi-task model.
      step_size: :math:`\eta`, a number or a schedule of the training step: as a rule that of the training.

    Returns:
      ``(params, key, data, *, step=0) -> Affinity``. Of parameters that are an ``EncoderHead`` the encoder is what tasks share; of
      any others, everything is.

    Raises:
      ValueError: if ``losses`` give gradients or not one loss per task, or, from the function, if tasks share nothing.
    """
    if gives_gradients(losses):
        raise ValueError("losses must be task_losses(...) or joint losses, from which affinity takes gradients; got gradients.")
    gradients = task_gradients(losses.args[0]) if is_per_task(losses) else joint_gradients(losses)
    return functools.partial(_affinity, losses, gradients, step_size if callable(step_size) else lambda step: step_size)


def _affinity(
    losses: Objective,
    gradients: Callable[..., Any],
    step_size: Callable[[Any], Any],
    params: Params,
    key: jax.Array,
    data: Any,
    *,
    step: Any = 0,
) -> Affinity:
    (before, metrics), of_tasks = gradients(params, key, data, step=step)
    shared, rows = (tree.encoder if isinstance(params, EncoderHead) else tree for tree in (params, of_tasks))
    if not jax.tree.leaves(shared):
        raise ValueError("params must hold something that the tasks share; got none.")
    rate = step_size(step)

    def after(gradient: Params) -> jax.Array:
        moved = jax.tree.map(lambda leaf, slope: (leaf - rate * slope).astype(leaf.dtype), shared, gradient)
        return losses(EncoderHead(moved, params.head) if isinstance(params, EncoderHead) else moved, key, data, step=step)[0]

    # One after another: mapped convolutions are slow on the CPU, and every task would hold its parameters and activations.
    lowered = (before - jax.lax.map(after, rows)).astype(jnp.promote_types(before.dtype, jnp.float32))
    counted = metrics.get(PRESENT, jnp.ones(before.shape, bool)) & (before != 0)
    pairs = counted[:, None] & counted[None, :]
    total = jnp.where(pairs, lowered / jnp.where(counted, jnp.abs(before), 1), 0)
    return Affinity(total, pairs.astype(jnp.int32))
