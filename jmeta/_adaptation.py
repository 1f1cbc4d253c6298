"""Adapting to one task by gradient descent, and the ways to differentiate through it.

An *adjoint* says how the descent is built: how each inner gradient is differentiated and how the steps are repeated. Memory
and exactness are chosen there and nowhere else.

The central differences of :func:`unrolled` follow Liu, Simonyan and Yang, *DARTS* (2019, 1806.09055), equation 8, with a step
that balances rounding against truncation. Its mixed mode is that of Kemaev et al., *MixFlow-MG* (2025, 2505.00793), algorithm 2.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jmeta._types import Adapted, Objective

# Reverse is the default: it takes every derivative, and nested it needs the memory of mixed (CPU; no accelerator was at hand).
HESSIAN_PRODUCTS = ("reverse", "mixed", "finite_difference")
# Fewer steps than this keep little, and a nest of loops takes longer to compile.
NESTED_FROM = 16


class Gradient(Protocol):
    """The gradient of an inner objective with respect to its first argument."""

    def __call__(self, adapted: Adapted, key: jax.Array, data: Any, step: jax.Array, /) -> Adapted: ...


class Adjoint(NamedTuple):
    """How a gradient descent is differentiated.

    Attributes:
      gradient: makes the inner gradient of an objective.
      scan: repeats an inner step, with the signature of ``jax.lax.scan(body, carry, xs)``.
      differentiates_updates: whether the meta-gradient passes through the optimiser's second derivatives.
    """

    gradient: Callable[[Objective], Gradient]
    scan: Callable[..., Any]
    differentiates_updates: bool


class GradientDescent(NamedTuple):
    """An iterative adaptation.

    Attributes:
      run: ``(initial, key, data) -> adapted`` after the training number of steps.
      path: ``(initial, key, data, num_steps) -> adapted`` after 0, 1, ..., ``num_steps`` steps, with a leading
        ``[num_steps + 1]`` axis. ``num_steps`` may exceed the training number.
    """

    run: Callable[[Adapted, jax.Array, Any], Adapted]
    path: Callable[[Adapted, jax.Array, Any, int], Adapted]


def unrolled(*, rematerialise: bool = True, hessian_product: str = "reverse", unroll: int = 1) -> Adjoint:
    """Differentiates through every inner step: the exact meta-gradient of MAML.

    Args:
      rematerialise: recompute the activations of each step in the backward pass instead of keeping them; from 16 steps on also
        the steps, in blocks, so that memory grows with the square root of their number.
      hessian_product: how the second derivatives are formed. ``"reverse"`` and ``"mixed"`` (forward over reverse, which keeps no
        second backward pass but takes no forward-mode derivative itself) are exact. ``"finite_difference"`` takes central
        differences of the inner gradient at a distance chosen from the norms, ``(1 + |adapted|) eps^(1/3)``: it needs only
        first derivatives of the model, its relative error is of the order of that distance squared (``eps^(2/3)`` is 2e-5 in
        float32 and 4e-11 in float64) for a smooth model, and it is meaningless across the kink of a ReLU.
      unroll: how many steps the compiled loop repeats in its body.

    Raises:
      ValueError: if ``hessian_product`` is unknown or ``unroll`` is below 1.
    """
    if hessian_product not in HESSIAN_PRODUCTS:
        raise ValueError(f"hessian_product must be one of {', '.join(HESSIAN_PRODUCTS)}; got {hessian_product!r}.")
    if unroll < 1:
        raise ValueError(f"unroll must be at least 1; got {unroll}.")
    along = {"mixed": _forward_derivative, "finite_difference": _central_difference}
    gradient = _gradient if hessian_product == "reverse" else _gradient_differentiated_by(along[hessian_product])

    def scan(body: Callable[..., Any], carry: Any, xs: Any) -> Any:
        if not rematerialise:
            return jax.lax.scan(body, carry, xs, unroll=unroll)
        body = jax.checkpoint(body, prevent_cse=False)  # pyright: ignore[reportPrivateImportUsage]
        return (_nested_scan if len(xs) >= NESTED_FROM else jax.lax.scan)(body, carry, xs, unroll=unroll)

    return Adjoint(gradient, scan, differentiates_updates=True)


def first_order() -> Adjoint:
    """Treats each inner gradient as a constant and nothing else, so that learned step sizes still learn (FOMAML)."""

    def gradient(objective: Objective) -> Gradient:
        return lambda *arguments: jax.lax.stop_gradient(_gradient(objective)(*arguments))

    return Adjoint(gradient, jax.lax.scan, differentiates_updates=False)


def gradient_descent(
    objective: Objective, inner_optimizer: optax.GradientTransformation, num_steps: int, *, adjoint: Adjoint
) -> GradientDescent:
    """Builds the adaptation ``initial -> adapted`` by ``num_steps`` steps of an optimiser on one task's objective.

    Args:
      objective: the inner objective; its ``step`` is the inner step, its key is folded with it.
      inner_optimizer: any optax transformation.
      num_steps: the number of steps that :attr:`GradientDescent.run` takes; 0 leaves the initial parameters as they are.
      adjoint: :func:`unrolled` or :func:`first_order`.

    Raises:
      ValueError: if ``num_steps`` is negative, or if the adjoint differentiates the optimiser's updates and the optimiser has
        no finite derivative at a zero gradient.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must be at least 0; got {num_steps}.")
    if adjoint.differentiates_updates:
        _check_inner_optimizer(inner_optimizer)
    gradient = adjoint.gradient(objective)

    def descend(initial: Adapted, key: jax.Array, data: Any, num_steps: int, keep: bool) -> tuple[Adapted, Any]:
        def body(carry: tuple[Adapted, Any], step: jax.Array) -> tuple[tuple[Adapted, Any], Any]:
            adapted, state = carry
            grads = gradient(adapted, jax.random.fold_in(key, step), data, step)
            updates, state = inner_optimizer.update(grads, state, adapted)
            adapted = optax.apply_updates(adapted, updates)
            return (adapted, state), adapted if keep else None

        carry = (initial, inner_optimizer.init(initial))
        (adapted, _), kept = adjoint.scan(body, carry, jnp.arange(num_steps))
        return adapted, kept

    def run(initial: Adapted, key: jax.Array, data: Any) -> Adapted:
        return descend(initial, key, data, num_steps, keep=False)[0]

    def path(initial: Adapted, key: jax.Array, data: Any, num_steps: int) -> Adapted:
        _, kept = descend(initial, key, data, num_steps, keep=True)
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), initial, kept)

    return GradientDescent(run, path)


def _gradient(objective: Objective) -> Gradient:
    def gradient(adapted: Adapted, key: jax.Array, data: Any, step: jax.Array) -> Adapted:
        return jax.grad(lambda adapted: objective(adapted, key, data, step=step)[0])(adapted)

    return gradient


def _gradient_differentiated_by(along: Callable[..., Any]) -> Callable[[Objective], Gradient]:
    """Builds an inner gradient whose backward pass is the derivative of the whole gradient along the incoming cotangent.

    Whole means: with respect to ``adapted`` and to everything else that is differentiated (features, meta-parameters that the
    objective closes over). By symmetry of the second derivatives these are the cotangents.
    """

    def build(objective: Objective) -> Gradient:
        def gradient(adapted: Adapted, key: jax.Array, data: Any, step: jax.Array) -> Adapted:
            floats, labels = _parted(data)

            # The key, the labels and the step are passed on: the backward pass runs outside the loop that made them.
            def objective_of(adapted: Adapted, floats: Any, constants: Any) -> jax.Array:
                labels, key, step = constants
                return objective(adapted, key, _joined(floats, labels), step=step)[0]

            loss, hoisted = jax.closure_convert(objective_of, adapted, floats, (labels, key, step))

            @jax.custom_vjp
            def differentiated(adapted: Adapted, floats: Any, hoisted: Any, constants: Any) -> Adapted:
                return jax.grad(loss)(adapted, floats, constants, *hoisted)

            def forward(*arguments: Any) -> tuple[Adapted, Any]:
                return differentiated(*arguments), arguments

            def backward(residuals: Any, cotangent: Adapted) -> tuple[Any, ...]:
                adapted, floats, hoisted, constants = residuals

                def gradients(adapted: Adapted) -> Any:
                    arguments = (adapted, floats, hoisted)
                    return jax.grad(lambda arguments: loss(*arguments[:2], constants, *arguments[2]))(arguments)

                return *along(gradients, adapted, cotangent), None

            differentiated.defvjp(forward, backward)
            return differentiated(adapted, floats, hoisted, (labels, key, step))

        return gradient

    return build


def _forward_derivative(function: Callable[[Adapted], Any], point: Adapted, direction: Adapted) -> Any:
    return jax.jvp(function, (point,), (direction,))[1]


def _central_difference(function: Callable[[Adapted], Any], point: Adapted, direction: Adapted) -> Any:
    length = optax.tree.norm(direction)
    distance = (1 + optax.tree.norm(point)) * jnp.finfo(length.dtype).eps ** (1 / 3)
    scale = jnp.where(length > 0, distance / jnp.where(length > 0, length, 1), 0)
    above, below = (function(optax.tree.add_scale(point, sign * scale, direction)) for sign in (1, -1))
    return jax.tree.map(lambda a, b: jnp.where(scale > 0, (a - b) / jnp.where(scale > 0, 2 * scale, 1), 0), above, below)


def _parted(data: Any) -> tuple[Any, Any]:
    """Parts data into its floating-point leaves and the rest, which has no derivative, with None in the other's places."""
    is_float = jax.tree.map(lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.inexact), data)
    floats = jax.tree.map(lambda leaf, keep: leaf if keep else None, data, is_float)
    return floats, jax.tree.map(lambda leaf, leave: None if leave else leaf, data, is_float)


def _joined(floats: Any, rest: Any) -> Any:
    return jax.tree.map(lambda one, other: other if one is None else one, floats, rest, is_leaf=lambda leaf: leaf is None)


def _nested_scan(body: Callable[..., Any], carry: Any, xs: jax.Array, *, unroll: int) -> Any:
    """Scans in blocks whose steps are recomputed: about ``2 sqrt(steps)`` carries are kept instead of all."""
    size = math.isqrt(len(xs))
    blocks = len(xs) // size
    scan = functools.partial(jax.lax.scan, body, unroll=unroll)
    carry, kept = jax.lax.scan(jax.checkpoint(scan, prevent_cse=False), carry, xs[: blocks * size].reshape(blocks, size))  # pyright: ignore[reportPrivateImportUsage]
    carry, rest = scan(carry, xs[blocks * size :])
    return carry, jax.tree.map(lambda kept, rest: jnp.concatenate([kept.reshape(-1, *rest.shape[1:]), rest]), kept, rest)


def _check_inner_optimizer(optimizer: optax.GradientTransformation) -> None:
    """Probes the derivatives of one update at a zero gradient, as a dead unit gives it."""
    params = {"bias": np.ones(2), "kernel": np.ones((2, 2))}

    def moved(gradient: Adapted, params: Adapted) -> jax.Array:
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        return jnp.asarray(optax.tree.sum(updates))

    # One program: called one by one, every operation would be compiled in every new process.
    probe = jax.jit(lambda gradient, params: optax.tree.sum(jax.grad(moved, argnums=(0, 1))(gradient, params)))
    derivative = probe(jax.tree.map(np.zeros_like, params), params)
    if not isinstance(derivative, Tracer) and not jnp.isfinite(derivative):
        raise ValueError(
            "inner_optimizer has no finite derivative at a zero gradient, so one dead unit would make the whole meta-gradient "
            "NaN; expected a differentiable one: pass eps_root=1e-8 to the Adam family, avoid clip_by_global_norm and "
            "normalised updates, or use the first_order() adjoint."
        )
