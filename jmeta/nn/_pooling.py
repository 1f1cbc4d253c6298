"""Pooling whose derivatives of every order are slices, sums and selections, not scatters."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._windows import Axis, taps_along, window_axes


def max_pool(x: jax.Array, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Any = "VALID") -> jax.Array:
    """Takes the maximum over windows of ``x [n, *spatial, channels]``, with the signature of ``flax.linen.max_pool``.

    Of equal values the first has the derivative.
    """
    axes = window_axes(x.shape[1:-1], window_shape, strides, padding)
    if all(axis.stride == axis.taps and axis.low == 0 == axis.high for axis in axes):
        return _tiled_maximum(_tiles(x, tuple(window_shape)))
    return functools.reduce(_larger, _windows(x, axes, _lowest(x.dtype)))


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
    axes = window_axes(x.shape[1:-1], window_shape, strides, padding)
    dtype = jnp.result_type(x, 0.0)
    wide = jnp.promote_types(dtype, jnp.float32)  # partial sums keep their digits: those of bfloat16 count to 256
    total = functools.reduce(jnp.add, _windows(x.astype(wide), axes, 0))
    if count_include_pad:
        count = math.prod(window_shape)
    else:
        count = functools.reduce(jnp.add, _windows(jnp.ones((1, *x.shape[1:-1], 1), wide), axes, 0))
    return (total / count).astype(dtype)


def _windows(x: jax.Array, axes: Sequence[Axis], fill: float) -> list[jax.Array]:
    """Slices what each position of the window sees: one ``[n, *output spatial, channels]`` array per position."""
    seen = [x]
    for dimension, axis in enumerate(axes, start=1):
        seen = [tap for part in seen for tap in taps_along(part, dimension, axis, fill)]
    return seen


def _lowest(dtype: Any) -> float:
    if jnp.issubdtype(dtype, jnp.inexact):
        return -jnp.inf
    return False if dtype == jnp.bool_ else jnp.iinfo(dtype).min


def _tiles(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """Cuts ``x`` into windows side by side, less what fills none: ``[n, tiles, window, tiles, window, ..., channels]``."""
    counts = [size // taps for size, taps in zip(x.shape[1:-1], window, strict=True)]
    limits = [count * taps for count, taps in zip(counts, window, strict=True)]
    cropped = lax.slice(x, (0,) * x.ndim, (x.shape[0], *limits, x.shape[-1]))
    pairs = [size for pair in zip(counts, window, strict=True) for size in pair]
    return cropped.reshape(x.shape[0], *pairs, x.shape[-1])


@jax.custom_jvp
def _tiled_maximum(tiles: jax.Array) -> jax.Array:
    return functools.reduce(_larger, _positions(tiles))


@_tiled_maximum.defjvp
def _tiled_maximum_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (tiles,), (tangent,) = primals, tangents
    inside = tuple(range(2, tiles.ndim - 1, 2))
    first, *others = _positions(tiles)
    largest, chosen = first, jnp.zeros(first.shape, jnp.int32)
    for index, other in enumerate(others, start=1):
        chosen = jnp.where(_is_larger(largest, other), chosen, index)
        largest = _larger(largest, other)
    shape = [size if dimension in inside else 1 for dimension, size in enumerate(tiles.shape)]
    selected = jnp.expand_dims(chosen, inside) == jnp.arange(len(others) + 1).reshape(shape)
    return largest, jnp.where(selected, tangent, 0).sum(inside)


def _positions(tiles: jax.Array) -> list[jax.Array]:
    seen = [tiles]
    for dimension in range(2, tiles.ndim - 1, 2):
        seen = [lax.slice_in_dim(part, index, index + 1, axis=dimension) for part in seen for index in range(part.shape[dimension])]
    return [part.reshape(*tiles.shape[:1], *tiles.shape[1:-1:2], tiles.shape[-1]) for part in seen]


def _larger(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.where(_is_larger(one, other), one, other)


def _is_larger(one: jax.Array, other: jax.Array) -> jax.Array:
    # Not jnp.maximum, whose derivative asks which argument equals the result: a compiler that computes an argument anew, rounded
    # otherwise, finds neither. A NaN stays.
    return (one >= other) | (one != one)  # noqa: PLR0124
