"""The three products of a convolution as convolutions of XLA, for one task: kernels without a task axis.

``x [n, *spatial, channels]``, ``kernel [*window, channels, features]``, ``y [n, *output spatial, features]``. Every one has the
layout in which XLA's CPU backend calls its own kernel and not a loop.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._windows import Axis, output_size


def channels_last(spatial: int) -> lax.ConvDimensionNumbers:
    """Names the dimensions of a channels-last convolution."""
    channel, axes = spatial + 1, tuple(range(1, spatial + 1))
    return lax.ConvDimensionNumbers((0, channel, *axes), (spatial + 1, spatial, *range(spatial)), (0, channel, *axes))


def output(x: jax.Array, kernel: jax.Array, axes: Sequence[Axis], precision: Any) -> jax.Array:
    """Convolves."""
    padding = [(axis.low, axis.high) for axis in axes]
    return _convolve(x, kernel, _strides(axes), padding, None, _dilation(axes), precision)


def input_gradient(y: jax.Array, kernel: jax.Array, axes: Sequence[Axis], precision: Any) -> jax.Array:
    """Sends cotangents of the outputs back to the inputs: a convolution of dilated cotangents with the mirrored window."""
    padding = []
    for axis in axes:
        extent = (axis.taps - 1) * axis.dilation
        padding.append((extent - axis.low, axis.size - _span(axis) + axis.low))
    mirrored = jnp.flip(kernel, range(len(axes))).swapaxes(-1, -2)
    return _convolve(y, mirrored, [1] * len(axes), padding, _strides(axes), _dilation(axes), precision)


def kernel_gradient(x: jax.Array, y: jax.Array, axes: Sequence[Axis], precision: Any) -> jax.Array:
    """Correlates inputs with cotangents of the outputs: channels take the place of examples, and examples that of channels."""
    padding = []
    for axis in axes:
        padding.append((axis.low, (axis.taps - 1) * axis.dilation + _span(axis) - axis.size - axis.low))
    window = jnp.moveaxis(y, 0, -2)
    product = _convolve(x.swapaxes(0, -1), window, _dilation(axes), padding, None, _strides(axes), precision)
    return jnp.moveaxis(product, 0, -2)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    x_dilation: Sequence[int] | None,
    kernel_dilation: Sequence[int],
    precision: Any,
) -> jax.Array:
    numbers = channels_last(len(strides))
    return lax.conv_general_dilated(x, kernel, strides, padding, x_dilation, kernel_dilation, numbers, precision=precision)


def _strides(axes: Sequence[Axis]) -> list[int]:
    return [axis.stride for axis in axes]


def _dilation(axes: Sequence[Axis]) -> list[int]:
    return [axis.dilation for axis in axes]


def _span(axis: Axis) -> int:
    """Counts the rows from the first output position to the last."""
    return (output_size(axis) - 1) * axis.stride + 1
