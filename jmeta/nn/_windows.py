"""Windows that slide over spatial axes, and what each of their positions (taps) sees."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

PADDINGS = ("SAME", "SAME_LOWER", "VALID")


class Axis(NamedTuple):
    """A window along one spatial axis: ``taps`` positions, ``dilation`` apart, that move by ``stride``.

    ``low`` and ``high`` rows of padding surround the ``size`` real ones.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    low: int
    high: int


class Phase(NamedTuple):
    """The input rows ``first, first + stride, ...`` and the taps that see them.

    Row ``t`` of a phase reaches output row ``t - shift`` through a tap: ``taps`` holds pairs ``(tap, shift)``.
    """

    first: int
    size: int
    taps: tuple[tuple[int, int], ...]


def window_axes(
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int] | None,
    padding: Any,
    dilation: Sequence[int] | None = None,
) -> tuple[Axis, ...]:
    """Describes a window per spatial axis; ``padding`` as flax has it, strides and dilation 1 where None.

    Raises:
      ValueError: for anything but positive integers, one per axis, and for a padding that is none or cuts off more than there is.
    """
    ones = (1,) * len(sizes)
    strides, dilation = (ones if values is None else values for values in (strides, dilation))
    for name, values in (("window", window), ("strides", strides), ("dilation", dilation)):
        if not sizes or not _are_integers(values, (len(sizes),), 1):
            raise ValueError(
                f"{name} must hold a positive integer for each spatial axis of [n, *spatial, channels], at least one; got {values} "
                f"for spatial sizes {tuple(sizes)}."
            )
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)} or explicit; got {padding!r}.")
        extents = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
        padding = lax.padtype_to_pads(sizes, extents, strides, padding)
    if not _are_integers(padding, (len(sizes), 2)) or any(size + sum(pair) < 0 for size, pair in zip(sizes, padding, strict=True)):
        raise ValueError(
            f"padding must be integers (low, high) for each spatial axis that cut off no more than there is; got {padding} for "
            f"spatial sizes {tuple(sizes)}."
        )
    lows, highs = zip(*padding, strict=True)
    return tuple(map(Axis._make, zip(sizes, window, strides, dilation, lows, highs, strict=True)))


def _are_integers(values: Any, shape: tuple[int, ...], least: float = -math.inf) -> bool:
    """Tells whether nested sequences have this shape and hold integers no smaller than ``least``."""
    found = np.asarray(values, object)
    return found.shape == shape and all(isinstance(value, int | np.integer) and value >= least for value in found.flat)


def output_size(axis: Axis) -> int:
    """Counts the positions of a window."""
    return max(0, (axis.low + axis.size + axis.high - (axis.taps - 1) * axis.dilation - 1) // axis.stride + 1)


def phases(axis: Axis) -> list[Phase]:
    """Sorts input rows by the taps that see them: ``stride`` phases, less those that no tap sees."""
    found = []
    for first in range(min(axis.stride, axis.size)):
        reach = [(tap, tap * axis.dilation - axis.low - first) for tap in range(axis.taps)]
        taps = tuple((tap, distance // axis.stride) for tap, distance in reach if distance % axis.stride == 0)
        if taps:
            found.append(Phase(first, len(range(first, axis.size, axis.stride)), taps))
    return found


def padded(x: jax.Array, config: Mapping[int, tuple[int, int, int]], fill: float = 0) -> jax.Array:
    """Pads some dimensions by ``(low, high, between)``, as :func:`jax.lax.pad` has them: negative ones cut off."""
    every = [config.get(dimension, (0, 0, 0)) for dimension in range(x.ndim)]
    return lax.pad(x, jnp.asarray(fill, x.dtype), every)


def shifted(x: jax.Array, dimension: int, start: int, size: int) -> jax.Array:
    """Takes rows ``start .. start + size`` of a dimension, zeros where there are none."""
    return padded(x, {dimension: (-start, start + size - x.shape[dimension], 0)})


def taps_along(x: jax.Array, dimension: int, axis: Axis, fill: float = 0) -> list[jax.Array]:
    """Slices what each tap of one axis sees: arrays with ``output_size(axis)`` rows in that dimension."""
    x, places = padded(x, {dimension: (axis.low, axis.high, 0)}, fill), output_size(axis)
    span = max(0, (places - 1) * axis.stride + 1)
    starts = [tap * axis.dilation if places else 0 for tap in range(axis.taps)]  # without a place, a tap may lie beyond the end
    return [lax.slice_in_dim(x, start, start + span, axis.stride, dimension) for start in starts]


def patches(x: jax.Array, dimensions: Sequence[int], axes: Sequence[Axis]) -> jax.Array:
    """Lays what a window sees side by side in the last dimension, as ``[*window, channels]``."""
    backwards = list(zip(dimensions, axes, strict=True))[::-1]
    return functools.reduce(lambda x, along: jnp.concatenate(taps_along(x, *along), axis=-1), backwards, x)
