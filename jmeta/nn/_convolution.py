"""Convolution that stays fast when every task has its own weights.

``jax.vmap`` over weights turns a convolution into a grouped one, which XLA runs slowly on the CPU; here it stays a batched
matrix product, in every derivative.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jmeta.nn._bilinear import convolve
from jmeta.nn._direct import channels_last
from jmeta.nn._windows import window_axes


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """Convolves; with weights of one task or, under ``vmap``, of many.

    It fits the argument of the same name of ``flax.linen.Conv`` and ``flax.nnx.Conv``.

    Args:
      lhs: ``[n, *spatial, channels]`` inputs.
      rhs: ``[*window, channels, features]`` weights.
      window_strides: a stride per spatial axis.
      padding: ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"``, or ``(low, high)`` per spatial axis.
      lhs_dilation: only 1 is supported.
      rhs_dilation: the distance between the taps of the window, per spatial axis.
      dimension_numbers: only channels-last inputs are supported, flax's layout.
      feature_group_count: only 1 is supported.
      batch_group_count: only 1 is supported.
      precision: of the matrix products.
      preferred_element_type: of the result.
      out_sharding: only None is supported.

    Raises:
      ValueError: for anything not supported, naming it.
    """
    if lhs.ndim != rhs.ndim or lhs.ndim < 3:
        raise ValueError(
            "lhs and rhs must be [n, *spatial, channels] and [*window, channels, features] of one rank, at least 3; "
            f"got {lhs.shape} and {rhs.shape}."
        )
    spatial = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers or channels_last(spatial))
    if numbers != lax.conv_dimension_numbers(lhs.shape, rhs.shape, channels_last(spatial)):
        raise ValueError(f"dimension_numbers must be channels-last, as flax's; got {dimension_numbers}.")
    if set(lhs_dilation or (1,)) != {1}:
        raise ValueError(f"lhs_dilation must be 1, transposed convolution is not supported; got {tuple(lhs_dilation or ())}.")
    if feature_group_count != 1 or batch_group_count != 1:
        raise ValueError(f"feature_group_count and batch_group_count must be 1; got {feature_group_count} and {batch_group_count}.")
    if out_sharding is not None:
        raise ValueError(f"out_sharding must be None, sharding is left to the compiler; got {out_sharding}.")
    if lhs.shape[-1] != rhs.shape[-2]:
        raise ValueError(f"rhs must have the channels of lhs; got rhs {rhs.shape} for lhs {lhs.shape}.")
    axes = window_axes(lhs.shape[1:-1], rhs.shape[:spatial], window_strides, padding, rhs_dilation)
    dtype = preferred_element_type or jnp.promote_types(lhs.dtype, rhs.dtype)
    return convolve(lhs, rhs, axes, dtype, precision)


class Conv(nn.Conv):
    """``flax.linen.Conv`` that stays fast when every task has its own weights.

    Channels last, one feature group; its parameters are those of ``flax.linen.Conv``.
    """

    conv_general_dilated: Callable[..., jax.Array] | None = conv_general_dilated
