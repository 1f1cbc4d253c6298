"""How the gradients of tasks point: the cosines that tell whether they conflict (Yu et al., 2020, 2001.06782, definition 1)."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta.aggregation._gramian import gramian


def gradient_cosines(gradients: Any) -> jax.Array:
    r"""Computes :math:`\langle g_i, g_j \rangle / (|g_i| |g_j|)` of all pairs of task gradients; below 0 two tasks conflict.

    The gradients of a multi-task model are compared by what the tasks share: give ``gradients.encoder``. A gradient of zeros, such
    as that of an absent task, points nowhere: its cosines are 0, that with itself included.

    >>> gradient_cosines({"w": jnp.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])}).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]

    Args:
      gradients: leaves ``[tasks, ...]``.

    Returns:
      ``[tasks, tasks]``, in float32 at least.

    Raises:
      ValueError: if there is no leaf.
    """
    products = gramian(gradients)
    squares = jnp.diagonal(products)
    there = squares > 0
    # Each length on its own: the product of two squares leaves the range of float32 first.
    scales = jnp.where(there, jax.lax.rsqrt(jnp.where(there, squares, 1)), 0)
    cosines = jnp.clip(products * scales[:, None] * scales[None, :], -1, 1)
    return jnp.where(jnp.eye(len(squares), dtype=bool), there.astype(cosines.dtype), cosines)
