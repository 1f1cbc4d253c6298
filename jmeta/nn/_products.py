"""The three products of a convolution by matrix products, for many tasks at once.

All arrays carry a leading task axis: ``x [tasks, n, *spatial, channels]``, ``kernel [tasks, *window, channels, features]`` and
``y [tasks, n, *output spatial, features]``.

A wide input is not copied once per tap: only the taps of the inner axes are laid side by side, and those of the outermost
spatial axis, the rows, become a matrix product each, whose results are added where they belong. A large batch is taken a few
examples at a time, so that what is laid side by side is still in the cache when it is multiplied.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._windows import Axis, Phase, output_size, padded, patches, phases, shifted

ROWS = 2  # the dimension of the outermost spatial axis


def output(x: jax.Array, kernel: jax.Array, axes: Sequence[Axis], precision: Any, chunk: int | None = None) -> jax.Array:
    """Convolves; with ``chunk``, so many numbers are laid side by side at once."""
    rows, *inner = axes
    if not _is_wide(axes, *kernel.shape[-2:]):
        return _multiply(patches(x, _spatial(axes), axes), _matrix(kernel), precision)

    def convolve(x: jax.Array) -> jax.Array:
        total = jnp.zeros((), x.dtype)
        for phase in phases(rows):
            seen = _inner_patches(x, axes, phase)
            for tap, shift in phase.taps:
                total += shifted(_multiply(seen, _matrix(kernel[:, tap]), precision), ROWS, shift, output_size(rows))
        return total

    pieces = _count_pieces(x.shape[:2], rows.size * math.prod(map(output_size, inner)) * _inner_taps(axes) * x.shape[-1], chunk)
    return _in_pieces(convolve, x, pieces)


def kernel_gradient(x: jax.Array, y: jax.Array, axes: Sequence[Axis], precision: Any, chunk: int | None = None) -> jax.Array:
    """Correlates inputs with cotangents of the outputs; ``chunk`` as above."""
    channels, features = x.shape[-1], y.shape[-1]
    rows, *inner = axes
    window = tuple(axis.taps for axis in axes)
    if not _is_wide(axes, channels, features):
        product = _correlate(patches(x, _spatial(axes), axes), y, precision)
        return product.reshape(len(x), *window, channels, features)

    def correlate(x: jax.Array, y: jax.Array) -> jax.Array:
        parts: list[Any] = [jnp.zeros((len(x), *window[1:], channels, features), x.dtype)] * rows.taps
        for phase in phases(rows):
            cotangents = [shifted(y, ROWS, -shift, phase.size) for _, shift in phase.taps]
            product = _correlate(_inner_patches(x, axes, phase), jnp.concatenate(cotangents, axis=-1), precision)
            for (tap, _), part in zip(phase.taps, jnp.split(product, len(phase.taps), axis=-1), strict=True):
                parts[tap] = part.reshape(len(x), *window[1:], channels, features)
        return jnp.stack(parts, axis=1)

    pieces = _count_pieces(x.shape[:2], rows.size * math.prod(map(output_size, inner)) * _inner_taps(axes) * channels, chunk)
    if pieces == 1:
        return correlate(x, y)
    zero = jnp.zeros((len(x), *window, channels, features), x.dtype)
    return lax.scan(lambda total, part: (total + correlate(*part), None), zero, (_cut(x, pieces), _cut(y, pieces)))[0]


def input_gradient(y: jax.Array, kernel: jax.Array, axes: Sequence[Axis], precision: Any, chunk: int | None = None) -> jax.Array:
    """Sends cotangents of the outputs back to the inputs; ``chunk`` as above."""
    channels, features = kernel.shape[-2:]
    rows, *inner = axes

    def send_back(y: jax.Array) -> jax.Array:
        total = jnp.zeros((*y.shape[:2], *(axis.size for axis in axes), channels), y.dtype)
        for columns in itertools.product(*map(phases, inner)):
            taps = list(itertools.product(*(phase.taps for phase in columns)))
            # [tasks, inner taps of the phase, rows of the window, channels, features]
            weights = jnp.stack([kernel[:, :, *(tap for tap, _ in at)] for at in taps], axis=1)
            matrix = jnp.moveaxis(weights, -1, 2).reshape(len(kernel), len(taps) * features, rows.taps * channels)
            seen = jnp.concatenate([_at_columns(y, columns, [shift for _, shift in at]) for at in taps], axis=-1)
            parts = jnp.split(_multiply(seen, matrix, precision), rows.taps, axis=-1)
            for phase in phases(rows):
                values = [shifted(parts[tap], ROWS, -shift, phase.size) for tap, shift in phase.taps]
                total += _spread(functools.reduce(jnp.add, values), axes, (phase, *columns))
        return total

    pieces = _count_pieces(y.shape[:2], math.prod(y.shape[2:-1]) * _inner_taps(axes) * max(channels, features), chunk)
    return _in_pieces(send_back, y, pieces)


def _inner_patches(x: jax.Array, axes: Sequence[Axis], phase: Phase) -> jax.Array:
    """Lays side by side what the inner axes of the window see in the rows of a phase."""
    rows, *inner = axes
    return patches(lax.slice_in_dim(x, phase.first, None, rows.stride, ROWS), _spatial(axes)[1:], inner)


def _at_columns(y: jax.Array, columns: Sequence[Phase], shifts: Sequence[int]) -> jax.Array:
    for dimension, (phase, shift) in enumerate(zip(columns, shifts, strict=True), start=ROWS + 1):
        y = shifted(y, dimension, -shift, phase.size)
    return y


def _inner_taps(axes: Sequence[Axis]) -> int:
    return math.prod(axis.taps for axis in axes[1:])


def _count_pieces(batch: Sequence[int], numbers: int, chunk: int | None) -> int:
    """Chooses the fewest equal pieces of a batch ``(tasks, n)``, ``numbers`` each example, that are no larger than ``chunk``."""
    tasks, examples = batch
    if chunk is None or tasks * examples * numbers <= 4 * chunk:
        return 1
    divisors = (pieces for pieces in range(1, examples + 1) if examples % pieces == 0)
    return next((pieces for pieces in divisors if tasks * (examples // pieces) * numbers <= chunk), examples)


def _cut(x: jax.Array, pieces: int) -> jax.Array:
    return jnp.moveaxis(x.reshape(len(x), pieces, -1, *x.shape[2:]), 1, 0)


def _in_pieces(function: Callable[[jax.Array], jax.Array], x: jax.Array, pieces: int) -> jax.Array:
    if pieces == 1:
        return function(x)
    results = jnp.moveaxis(lax.map(function, _cut(x, pieces)), 0, 1)
    return results.reshape(len(x), -1, *results.shape[3:])


def _is_wide(axes: Sequence[Axis], channels: int, features: int) -> bool:
    # Per row, taps of rows as products write rows.taps * features numbers and save (rows.taps - 1) copies of the inner patches.
    return channels * _inner_taps(axes) * (axes[0].taps - 1) > axes[0].taps * features


def _spatial(axes: Sequence[Axis]) -> range:
    return range(ROWS, ROWS + len(axes))


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(len(kernel), -1, kernel.shape[-1])


def _multiply(rows: jax.Array, matrix: jax.Array, precision: Any) -> jax.Array:
    product = jnp.matmul(_matrix(rows), matrix, precision=precision)
    return product.reshape(*rows.shape[:-1], matrix.shape[-1])


def _correlate(rows: jax.Array, others: jax.Array, precision: Any) -> jax.Array:
    numbers = (((1,), (1,)), ((0,), (0,)))
    return lax.dot_general(_matrix(rows), _matrix(others), numbers, precision=precision)


def _spread(values: jax.Array, axes: Sequence[Axis], at: Sequence[Any]) -> jax.Array:
    """Puts the rows of a phase of every axis where they came from, zeros between."""
    config = {}
    for dimension, axis, phase in zip(_spatial(axes), axes, at, strict=True):
        config[dimension] = (phase.first, axis.size - phase.first - (phase.size - 1) * axis.stride - 1, axis.stride - 1)
    return padded(values, config)
