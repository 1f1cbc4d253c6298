"""Which tasks help which: inter-task affinity (Fifty et al., 2021, 2109.04617), equation 1.

The authors' code divides it by the step size, adds weight decay to the step, and measures every tenth batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._objectives import gives_gradients, is_per_task, joint_gradients, task_gradients
from jmeta._types import PRESENT, EncoderHead, Params


def task_affinity(losses: Any, *, step_size: float | Callable[[Any], Any]) -> Callable[..., jax.Array]:
    r"""Measures how much a step on one task alone, along what the tasks share, lowers the loss of each.

    .. math:: Z_{i \to j} = \frac{L_j(\theta) - L_j(\theta - \eta \nabla_\theta L_i(\theta))}{|L_j(\theta)|}

    with the shared parameters :math:`\theta`; heads stay as they are, and what is drawn at random is the same before and after.
    Above 0 task i helps task j, below it harms. To first order this is :math:`\eta \langle g_i, g_j \rangle / |L_j|`, so that
    affinities are compared at one step size only. It costs a gradient and all losses once more for each task, one task after
    another: :func:`jmeta.with_measurements` takes it every so many steps, and :func:`jmeta.group_tasks` goes by the mean of these.

    Args:
      losses: ``jmeta.task_losses(...)``, or the ``joint_losses`` of a multi-task model.
      step_size: :math:`\eta`, a number or a schedule of the training step: as a rule that of the training.

    Returns:
      ``(params, key, data, *, step=0) -> [tasks, tasks]``, in float32 at least; row i is of the steps on task i. Of parameters that
      are an ``EncoderHead`` the encoder is what tasks share; of any others, everything is. Where one of two tasks is absent, or
      has a loss of 0, it is NaN, which stands for nothing.

    Raises:
      ValueError: if ``losses`` give gradients, or, from the function, if the tasks share nothing.
    """
    if gives_gradients(losses):
        raise ValueError("losses must be task_losses(...) or joint losses, from which affinity takes gradients; got gradients.")
    gradients = task_gradients(losses.args[0]) if is_per_task(losses) else joint_gradients(losses)

    def affinity(params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> jax.Array:
        (before, metrics), of_tasks = gradients(params, key, data, step=step)
        shared, rows = (tree.encoder if isinstance(params, EncoderHead) else tree for tree in (params, of_tasks))
        if not jax.tree.leaves(shared):
            raise ValueError("params must hold something that the tasks share; got none.")
        rate = step_size(step) if callable(step_size) else step_size

        def after(gradient: Params) -> jax.Array:
            moved = jax.tree.map(lambda leaf, slope: (leaf - rate * slope).astype(leaf.dtype), shared, gradient)
            return losses(EncoderHead(moved, params.head) if isinstance(params, EncoderHead) else moved, key, data, step=step)[0]

        # One after another: convolutions with weights of their own are slow on the CPU, and all activations would be held at once.
        lowered = (before[None, :] - jax.lax.map(after, rows)).astype(jnp.promote_types(before.dtype, jnp.float32))
        known = metrics.get(PRESENT, jnp.ones(before.shape, bool)) & (before != 0)
        return jnp.where(known[:, None] & known[None, :], lowered / jnp.where(known, jnp.abs(before), 1)[None, :], jnp.nan)

    return affinity
