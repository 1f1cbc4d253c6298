"""What one training step costs, asked of the compiler before any step is run."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters import partial_eval

from jmeta._steps import Step, TrainState

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CONVOLUTION = "jmeta_convolution_"  # how the primitives of jmeta.nn are named


class Device(Protocol):
    """What a jax device says of itself."""

    platform: str

    def memory_stats(self) -> Mapping[str, int] | None:
        """Gives its memory by name, in bytes."""


class Cost(NamedTuple):
    """What one training step costs; None is what the backend does not tell.

    Attributes:
      flops: floating-point operations of matrix products and convolutions, 2 per multiply-add, of all devices together. Loops are
        multiplied by their length; a loop whose length only the data tells counts once, and a branch as its dearest alternative.
      bytes_accessed: memory traffic as XLA estimates it, which counts the body of every loop once.
      argument_bytes: of the state and the data, per device, as are the next three.
      output_bytes: of the next state and the metrics.
      aliased_bytes: of the outputs, those written over the state, which is donated as :func:`fit` donates it.
      temporary_bytes: the peak of everything between.
      compile_seconds: of tracing, lowering and compiling; little where jax, or its compilation cache, has the step already.
    """

    flops: int
    bytes_accessed: int | None
    argument_bytes: int | None
    output_bytes: int | None
    aliased_bytes: int | None
    temporary_bytes: int | None
    compile_seconds: float


def cost(step: Step, state: TrainState, data: Any) -> Cost:
    """Compiles one training step, without running it, and says what it will cost.

    XLA's own count of operations takes the body of a loop once, however often it runs, so that it misses most of the work of inner
    steps and of micro-batches; here the products are counted in the traced program, after what no result needs is left out.

    Args:
      step: from :func:`make_step`; for several seeds, ``jax.vmap(step, in_axes=(0, None))``.
      state: a state, or its shapes from ``jax.eval_shape``; nothing is donated, because nothing runs.
      data: what one step takes, or its shapes: ``jax.eval_shape(tasks.sample, tasks.data, key)``.
    """
    begin = time.perf_counter()
    traced = jax.jit(step, donate_argnums=0).trace(state, data)
    compiled = traced.lower().compile()
    seconds = time.perf_counter() - begin
    analysis, memory = _told(compiled.cost_analysis), _told(compiled.memory_analysis)
    # A list with one entry per program on some versions of jax.
    analysis = analysis[0] if isinstance(analysis, list) and analysis else analysis
    accessed = analysis.get("bytes accessed") if isinstance(analysis, Mapping) else None
    argument, output, aliased, temporary = (
        getattr(memory, f"{kind}_size_in_bytes", None) for kind in ("argument", "output", "alias", "temp")
    )
    flops = _needed_flops(traced.jaxpr)
    return Cost(flops, None if accessed is None else int(accessed), argument, output, aliased, temporary, seconds)


def does_not_fit(cost: Cost, device: Device | None = None) -> str | None:
    """Says in a sentence that a step needs more memory than a device has; None where it fits or the sizes are not known.

    Args:
      cost: from :func:`cost`. The arguments, the outputs beside the donated state and the temporary memory are added up.
      device: the first one by default. A CPU has the memory of the machine, or of the control group where that is less.
    """
    device = jax.devices()[0] if device is None else device
    capacity, temporary = _capacity(device), cost.temporary_bytes
    if capacity is None or cost.argument_bytes is None or cost.output_bytes is None or temporary is None:
        return None
    needed = cost.argument_bytes + cost.output_bytes - (cost.aliased_bytes or 0) + temporary
    if needed <= capacity:
        return None
    return (
        f"one step needs {readable(needed, 'B')} of memory, {readable(temporary, 'B')} of it temporary; {device} has "
        f"{readable(capacity, 'B')}: run fewer tasks at once (micro_batch) or rematerialise the inner steps."
    )


def readable(number: float, unit: str) -> str:
    """Writes a number with three digits and a decimal prefix: ``1.23 GB``.

    >>> readable(1_234_567, "B")
    '1.23 MB'
    """
    number = float(f"{number:.3g}")
    power = 0 if number < 1 else min(int(math.log10(number)) // 3, 5)
    return f"{number / 1000**power:.3g} {' kMGTP'[power].strip()}{unit}"


def _told(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None


def _capacity(device: Device) -> int | None:
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        # Holds the word max where there is no limit.
        return min(memory, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return memory


def _needed_flops(jaxpr: ClosedJaxpr) -> int:
    needed, _ = partial_eval.dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    return _flops(needed)


def _flops(jaxpr: Jaxpr) -> int:
    return sum(map(_equation_flops, jaxpr.eqns))


def _equation_flops(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        inputs, output = _shape(equation.invars[0]), _shape(equation.outvars[0])
        return 2 * math.prod(output) * math.prod(inputs[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _convolution_flops(equation)
    if name.startswith(CONVOLUTION):
        return _bilinear_flops(equation)
    if name == "custom_linear_solve":
        # Its other programs are there for derivatives.
        return _flops(params["jaxprs"].solve.jaxpr)
    inner = [_flops(jaxpr) for jaxpr in _inner(params.values())]
    if name == "cond":
        return max(inner)
    return params["length"] * sum(inner) if name == "scan" else sum(inner)


def _inner(values: Any) -> Iterator[Jaxpr]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif isinstance(value, ClosedJaxpr | Jaxpr):
            yield value.jaxpr if isinstance(value, ClosedJaxpr) else value


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _convolution_flops(equation: JaxprEqn) -> int:
    """Counts the products with real inputs: none with padding, none with the zeros that dilate the input of a transposed one."""
    params, numbers = equation.params, equation.params["dimension_numbers"]
    inputs, kernel, output = map(_shape, [*equation.invars, *equation.outvars])
    spatial = zip(
        *([shape[axis] for axis in axes[2:]] for shape, axes in zip((inputs, kernel, output), numbers, strict=True)),
        params["padding"],
        params["window_strides"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    pairs = math.prod(
        _real_pairs(size, input_dilation, width, kernel_dilation, places, stride, before)
        for size, width, places, (before, _), stride, input_dilation, kernel_dilation in spatial
    )
    batch, features = (output[axis] for axis in numbers.out_spec[:2])
    return 2 * batch * features * kernel[numbers.rhs_spec[1]] * pairs


def _bilinear_flops(equation: JaxprEqn) -> int:
    """Counts one of the three products of ``jmeta.nn.Conv``, which are as long as one another."""
    left, right, output = map(_shape, [*equation.invars, *equation.outvars])
    of_outputs = {"output": output, "input_gradient": left, "kernel_gradient": right}
    places = of_outputs[equation.primitive.name.removeprefix(CONVOLUTION)][2:-1]
    pairs = math.prod(
        _real_pairs(axis.size, 1, axis.taps, axis.dilation, count, axis.stride, axis.low)
        for axis, count in zip(equation.params["axes"], places, strict=True)
    )
    widths = (left[-1], right[-1], output[-1])  # channels and features, one of them twice
    return 2 * left[0] * left[1] * min(widths) * max(widths) * pairs


def _real_pairs(size: int, input_dilation: int, width: int, kernel_dilation: int, places: int, stride: int, before: int) -> int:
    at = stride * np.arange(places)[:, None] + kernel_dilation * np.arange(width) - before
    return int(((at >= 0) & (at <= (size - 1) * input_dilation) & (at % input_dilation == 0)).sum())
