"""Convolution and pooling that stay fast when every task has its own weights.

``jax.vmap`` over weights turns a convolution into a grouped one, which XLA runs slowly on the CPU. Patches and one matrix
product stay a (batched) matrix product under ``vmap`` and in every derivative.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

PADDINGS = ("SAME", "SAME_LOWER", "VALID")


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
    """Convolves as patches and one matrix product.

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
      precision: of the matrix product.
      preferred_element_type: of the matrix product.
      out_sharding: only None is supported.

    Raises:
      ValueError: for anything not supported, naming it.
    """
    spatial = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers or _channels_last(spatial))
    if numbers != lax.conv_dimension_numbers(lhs.shape, rhs.shape, _channels_last(spatial)):
        raise ValueError(f"dimension_numbers must be channels-last, as flax's; got {dimension_numbers}.")
    if set(lhs_dilation or (1,)) != {1}:
        raise ValueError(f"lhs_dilation must be 1, transposed convolution is not supported; got {tuple(lhs_dilation or ())}.")
    if feature_group_count != 1 or batch_group_count != 1:
        raise ValueError(f"feature_group_count and batch_group_count must be 1; got {feature_group_count} and {batch_group_count}.")
    if out_sharding is not None:
        raise ValueError(f"out_sharding must be None, sharding is left to the compiler; got {out_sharding}.")
    if lhs.shape[-1] != rhs.shape[-2]:
        raise ValueError(f"rhs must have the channels of lhs; got rhs {rhs.shape} for lhs {lhs.shape}.")
    window, dilation = rhs.shape[:spatial], tuple(rhs_dilation or (1,) * spatial)
    taps = _taps(lhs, window, window_strides, padding, dilation, fill=0)
    patches = jnp.concatenate(taps, axis=-1)
    weights = rhs.reshape(-1, rhs.shape[-1])
    return jnp.matmul(patches, weights, precision=precision, preferred_element_type=preferred_element_type)


def max_pool(x: jax.Array, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Any = "VALID") -> jax.Array:
    """Takes the maximum over windows of ``x [n, *spatial, channels]``, with the signature of ``flax.linen.max_pool``.

    Of equal values the first has the derivative.
    """
    strides = strides or (1,) * len(window_shape)
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    taps = _taps(x, window_shape, strides, padding, (1,) * len(window_shape), fill=lowest)
    return functools.reduce(_larger, taps)


def avg_pool(
    x: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Averages over windows of ``x [n, *spatial, channels]``, with the signature of ``flax.linen.avg_pool``.

    Padding counts as zeros, or with ``count_include_pad=False`` not at all.
    """
    strides, ones = strides or (1,) * len(window_shape), (1,) * len(window_shape)
    total = functools.reduce(jnp.add, _taps(x, window_shape, strides, padding, ones, fill=0))
    if count_include_pad:
        return total / math.prod(window_shape)
    real = jnp.ones((1, *x.shape[1:-1], 1), x.dtype)
    return total / functools.reduce(jnp.add, _taps(real, window_shape, strides, padding, ones, fill=0))


def _larger(one: jax.Array, other: jax.Array) -> jax.Array:
    # Not jnp.maximum, whose derivative asks which argument equals the result: a compiler that computes an argument anew, rounded
    # otherwise, finds neither. A NaN stays.
    return jnp.where((one >= other) | (one != one), one, other)  # noqa: PLR0124


def _channels_last(spatial: int) -> lax.ConvDimensionNumbers:
    channel, axes = spatial + 1, tuple(range(1, spatial + 1))
    return lax.ConvDimensionNumbers((0, channel, *axes), (spatial + 1, spatial, *range(spatial)), (0, channel, *axes))


def _taps(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Any, dilation: Sequence[int], *, fill: float
) -> list[jax.Array]:
    """Slices what each position of the window sees: one ``[n, *output spatial, channels]`` array per position."""
    spatial = x.shape[1:-1]
    extents = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)} or explicit; got {padding!r}.")
        padding = lax.padtype_to_pads(spatial, extents, strides, padding)
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)])
    sizes = [(length - extent) // stride + 1 for length, extent, stride in zip(padded.shape[1:-1], extents, strides, strict=True)]
    taps = []
    for offsets in itertools.product(*(range(0, extent, step) for extent, step in zip(extents, dilation, strict=True))):
        limits = [start + (size - 1) * stride + 1 for start, size, stride in zip(offsets, sizes, strides, strict=True)]
        taps.append(lax.slice(padded, (0, *offsets, 0), (x.shape[0], *limits, x.shape[-1]), (1, *strides, 1)))
    return taps
