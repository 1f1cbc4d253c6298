"""How the gradients of tasks point: the cosines that tell whether they conflict (Yu et al., 2020, 2001.06782, definition 1)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._objectives import gives_gradients
from jmeta._types import EncoderHead, Params
from jmeta.aggregation._gramian import gramian


def gradient_cosines(gradients: Any) -> Callable[..., jax.Array]:
    r"""Measures :math:`\langle g_i, g_j \rangle / (|g_i| |g_j|)` of all pairs of task gradients; below 0 two tasks conflict.

    Measured in every step of a training by an aggregator, it takes the gradients that the step has anyway.

    Args:
      gradients: ``jmeta.task_gradients(...)`` or ``jmeta.joint_gradients(...)``.

    Returns:
      ``(params, key, data, *, step=0) -> [tasks, tasks]``, in float32 at least. Of an ``EncoderHead`` of parameters or features the
      encoder is compared, what the tasks share; of any others, everything is. A gradient of zeros, as that of an absent task,
      points nowhere: its cosines are NaN, which stands for nothing.

    Raises:
      ValueError: if ``gradients`` give none, or, from the function, if the tasks share nothing.
    """
    if not gives_gradients(gradients):
        raise ValueError("gradients must be task_gradients(...) or joint_gradients(...); got what gives a loss.")

    def cosines(params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> jax.Array:
        of_tasks = gradients(params, key, data, step=step)[1]
        return _cosines(gramian(of_tasks.encoder if isinstance(of_tasks, EncoderHead) else of_tasks))

    return cosines


def _cosines(products: jax.Array) -> jax.Array:
    squares = jnp.diagonal(products)
    # Each length on its own: the product of two squares leaves the range of float32 first.
    scales = jnp.where(squares > 0, jax.lax.rsqrt(squares), jnp.nan)
    return jnp.clip(products * scales[:, None] * scales[None, :], -1, 1)
