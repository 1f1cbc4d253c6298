"""The three bilinear maps of a convolution as primitives, each the derivative of the two others.

``output(x, kernel)``, ``input_gradient(y, kernel)`` and ``kernel_gradient(x, y)`` are closed under differentiation: as primitives
they say so themselves, and a derivative of any order, in either mode, is computed by the form that was measured to be the
fastest, never by differentiating slices. All arrays carry a leading task axis. Under ``vmap``, what is batched in both operands
becomes more tasks; what is batched in one of them becomes more of the dimension that the other lacks: examples, channels or
features.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jmeta.nn import _direct, _products
from jmeta.nn._windows import Axis, output_size, phases

# Up to here, on the CPU, XLA's convolution keeps up on one core with products on two, and compiles in a tenth of their time.
DIRECT_FLOPS = 20_000_000
DIRECT_ROWS = 1024
# The numbers laid side by side at once on the CPU, 1.6 MB in float32: 1.5 times as fast as 45 MB.
CHUNK = 400_000


class Map(NamedTuple):
    """One of the maps: the shape of its result, its two forms, and which dimension grows.

    ``left`` is the dimension of the first operand, and that of the result, which grow by what is batched in the first operand
    alone; ``right`` those of the second.
    """

    shape: Callable[[Any, Any, Sequence[Axis]], tuple[int, ...]]
    products: Callable[..., jax.Array]
    direct: Callable[..., jax.Array]
    left: tuple[int, int]
    right: tuple[int, int]


def convolve(x: jax.Array, kernel: jax.Array, axes: tuple[Axis, ...], dtype: Any, precision: Any = None) -> jax.Array:
    """Convolves ``x [n, *spatial, channels]`` with ``kernel [*window, channels, features]``, as ``axes`` says, to ``dtype``."""
    return _output.bind(x[None], kernel[None], axes=axes, dtype=jnp.dtype(dtype), precision=precision)[0]


def _output_shape(x: Any, kernel: Any, axes: Sequence[Axis]) -> tuple[int, ...]:
    return (*x.shape[:2], *map(output_size, axes), kernel.shape[-1])


def _input_shape(y: Any, kernel: Any, axes: Sequence[Axis]) -> tuple[int, ...]:
    return (*y.shape[:2], *(axis.size for axis in axes), kernel.shape[-2])


def _kernel_shape(x: Any, y: Any, axes: Sequence[Axis]) -> tuple[int, ...]:
    return (x.shape[0], *(axis.taps for axis in axes), x.shape[-1], y.shape[-1])


def _compute(
    of: Map, on_cpu: bool, left: jax.Array, right: jax.Array, *, axes: tuple[Axis, ...], dtype: Any, precision: Any
) -> jax.Array:
    computed = jnp.promote_types(left.dtype, right.dtype)
    if on_cpu and computed in (jnp.bfloat16, jnp.float16):
        computed = jnp.dtype(jnp.float32)  # partial sums keep their digits, and the CPU would widen them anyway
    elif not jnp.issubdtype(computed, jnp.inexact):
        computed = jnp.promote_types(computed, dtype)  # sums of narrow integers overflow
    left, right = left.astype(computed), right.astype(computed)
    shape = of.shape(left, right, axes)
    if 0 in (*left.shape, *right.shape, *shape) or not all(map(phases, axes)):
        return jnp.zeros(shape, dtype)  # a sum over nothing: something is empty, or every tap sees padding alone
    if left.shape[0] == 1 and (not on_cpu or (computed == jnp.float32 and _is_small(left, right, shape, axes))):
        result = of.direct(left[0], right[0], axes, precision)
    else:
        result = of.products(left, right, axes, precision, CHUNK if on_cpu else None)
    return result.reshape(shape).astype(dtype)


def _is_small(left: Any, right: Any, shape: Sequence[int], axes: Sequence[Axis]) -> bool:
    rows = left.shape[1] * math.prod(map(output_size, axes))
    widths = (left.shape[-1], right.shape[-1], shape[-1])  # channels and features, one of them twice
    flops = 2 * rows * math.prod(axis.taps for axis in axes) * min(widths) * max(widths)
    return rows <= DIRECT_ROWS and flops <= DIRECT_FLOPS


def _batch(of: Map, bind: Callable[..., Any], operands: Sequence[Any], batched: Sequence[Any], **params: Any) -> tuple[Any, int]:
    (left, right), (at_left, at_right) = operands, batched
    if at_left is not None and at_right is not None:
        left, sizes = _merged(left, at_left, 0)
        right, _ = _merged(right, at_right, 0)
        return _parted(bind(left, right, **params), sizes, 0)
    if at_left is not None:
        left, sizes = _merged(left, at_left, of.left[0])
        return _parted(bind(left, right, **params), sizes, of.left[1])
    right, sizes = _merged(right, at_right, of.right[0])
    return _parted(bind(left, right, **params), sizes, of.right[1])


def _merged(x: jax.Array, at: Any, dimension: int) -> tuple[jax.Array, tuple[int, int]]:
    """Merges the batched dimension into another, counted without it; gives the sizes of both too."""
    into = dimension % (x.ndim - 1)
    moved = jnp.moveaxis(x, at, into)
    size, other = moved.shape[into : into + 2]
    return moved.reshape(*moved.shape[:into], size * other, *moved.shape[into + 2 :]), (size, other)


def _parted(x: jax.Array, sizes: tuple[int, int], dimension: int) -> tuple[jax.Array, int]:
    at = dimension % x.ndim
    return x.reshape(*x.shape[:at], *sizes, *x.shape[at + 1 :]), at


def _primitive(name: str, of: Map) -> Any:
    primitive = Primitive(f"jmeta_convolution_{name}")
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("axes", "dtype", "precision")))
    primitive.def_abstract_eval(lambda left, right, *, axes, dtype, **_: ShapedArray(of.shape(left, right, axes), dtype))
    for platform in ("cpu", None):
        compute = functools.partial(_compute, of, platform == "cpu")
        mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False), platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, of, primitive.bind)
    return primitive


def _differentiate(primitive: Any, of_left: Callable[..., Any], of_right: Callable[..., Any]) -> None:
    """Registers ``of_left(cotangent, right)`` and ``of_right(cotangent, left)``, the cotangents of the operands."""

    def left_rule(cotangent: Any, left: Any, right: Any, *, dtype: Any, **params: Any) -> Any:
        del dtype
        return of_left(cotangent, right, dtype=left.aval.dtype, **params)

    def right_rule(cotangent: Any, left: Any, right: Any, *, dtype: Any, **params: Any) -> Any:
        del dtype
        return of_right(cotangent, left, dtype=right.aval.dtype, **params)

    ad.defbilinear(primitive, left_rule, right_rule)


def _swapped(bind: Callable[..., Any]) -> Callable[..., Any]:
    return lambda right, left, **params: bind(left, right, **params)


_output = _primitive("output", Map(_output_shape, _products.output, _direct.output, (1, 1), (-1, -1)))
_input = _primitive("input_gradient", Map(_input_shape, _products.input_gradient, _direct.input_gradient, (1, 1), (-2, -1)))
_kernel = _primitive("kernel_gradient", Map(_kernel_shape, _products.kernel_gradient, _direct.kernel_gradient, (-1, -2), (-1, -1)))
_differentiate(_output, _input.bind, _swapped(_kernel.bind))
_differentiate(_input, _output.bind, _kernel.bind)
_differentiate(_kernel, _swapped(_input.bind), _swapped(_output.bind))
