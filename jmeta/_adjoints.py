"""Adjoints: the ways to differentiate through a gradient descent.

An *adjoint* says how the descent is built: how each inner gradient is differentiated and how the steps are repeated, or that
only the point where it ends counts. Memory and exactness are chosen there and nowhere else.

The central differences of :func:`unrolled` follow Liu, Simonyan and Yang, *DARTS* (2019, 1806.09055), equation 8, with a step
that balances rounding against truncation. Its mixed mode is that of Kemaev et al., *MixFlow-MG* (2025, 2505.00793), algorithm 2.
:func:`implicit` is that of Rajeswaran et al., *iMAML* (2019, 1909.04630), section 3.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jmeta._options import check_counts
from jmeta._paths import merge, partition
from jmeta._precision import add_scaled
from jmeta._types import Adapted, Objective

# Reverse is the default: it takes every derivative, and nested it needs the memory of mixed (CPU; no accelerator was at hand).
HESSIAN_PRODUCTS = ("reverse", "mixed", "finite_difference")
# Fewer steps than this keep little, and a nest of loops takes longer to compile.
NESTED_FROM = 16


class Gradient(Protocol):
    """The gradient of an inner objective with respect to its first argument."""

    def __call__(self, adapted: Adapted, key: jax.Array, data: Any, step: jax.Array, /) -> Adapted: ...


class Implicit(NamedTuple):
    """How a stationary point of ``objective + proximal_strength / 2 |adapted - initial|^2`` is differentiated.

    Attributes:
      proximal_strength: how strongly the adapted values are held at the initial ones.
      solve: ``(product, target) -> x`` with ``product(x) = target``, for the symmetric product with the second derivatives.
    """

    proximal_strength: float
    solve: Callable[[Callable[[Adapted], Adapted], Adapted], Adapted]


class Adjoint(NamedTuple):
    """How a gradient descent is differentiated.

    Attributes:
      gradient: makes the inner gradient of an objective.
      scan: repeats an inner step, with the signature of ``jax.lax.scan(body, carry, xs)``.
      differentiates_updates: whether the meta-gradient passes through the optimiser's second derivatives.
      implicit: where the path of the descent does not matter, how its end is differentiated.
    """

    gradient: Callable[[Objective], Gradient]
    scan: Callable[..., Any]
    differentiates_updates: bool
    implicit: Implicit | None = None


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
    check_counts(unroll=unroll)
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


def implicit(*, proximal_strength: float, damping: float = 0.0, solver_steps: int = 5) -> Adjoint:
    r"""Differentiates the point where a proximal inner problem is stationary, whatever path led there (iMAML).

    .. math:: \frac{d\phi}{d\theta} = \left(I + \frac{H(\phi) + \mu I}{\lambda}\right)^{-1}, \quad
              \nabla L_S(\phi) + \lambda (\phi - \theta) = 0

    with H the second derivatives of the inner objective at :math:`\phi`. The descent minimises
    :math:`L_S(\phi) + \lambda / 2 \, |\phi - \theta|^2`, and none of its steps is kept, so memory does not grow with them. The
    derivative is that of the stationary point: it does not notice that the descent stopped short of it or diverged. Whatever the
    optimiser itself has learnt (a rule) gets no gradient.

    Differs from the authors' code, which takes its steps without the proximal term and solves
    ``(2 + H / (lambda + 10)) v = g``.

    Args:
      proximal_strength: :math:`\lambda`, how strongly the adapted values are held at the initial ones.
      damping: :math:`\mu`, what is added to the second derivatives in the system that is solved; it keeps the solution small where
        the inner problem is not convex.
      solver_steps: steps of conjugate gradients; always as many, so that mapped tasks and a loop over them agree.

    Raises:
      ValueError: if ``proximal_strength`` is not above 0, ``damping`` is negative, or ``solver_steps`` is below 1.
    """
    if not proximal_strength > 0:
        raise ValueError(f"proximal_strength must be above 0; got {proximal_strength}.")
    if damping < 0:
        raise ValueError(f"damping must be at least 0; got {damping}.")
    check_counts(solver_steps=solver_steps)

    def solve(product: Callable[[Adapted], Adapted], target: Adapted) -> Adapted:
        def damped(x: Adapted) -> Adapted:
            return add_scaled(product(x), damping, x)

        # By itself the recursion is not linear in the target, and could not be transposed.
        steps = functools.partial(_conjugate_gradients, num_steps=solver_steps)
        return jax.lax.custom_linear_solve(damped, target, steps, symmetric=True)

    return first_order()._replace(implicit=Implicit(proximal_strength, solve))


def _conjugate_gradients(product: Callable[[Adapted], Adapted], target: Adapted, num_steps: int) -> Adapted:
    def step(carry: Any, _: None) -> tuple[Any, None]:
        x, residual, direction, square = carry
        along = product(direction)
        curvature = jnp.asarray(optax.tree.vdot(direction, along))
        # Solved already, or not convex along this direction: stay.
        size = jnp.where(curvature > 0, square / jnp.where(curvature > 0, curvature, 1), 0)
        x, residual = add_scaled(x, size, direction), add_scaled(residual, -size, along)
        remaining = optax.tree.vdot(residual, residual)
        ratio = jnp.where(square > 0, remaining / jnp.where(square > 0, square, 1), 0)
        return (x, residual, add_scaled(residual, ratio, direction), remaining), None

    start = (optax.tree.zeros_like(target), target, target, optax.tree.vdot(target, target))
    return jax.lax.scan(step, start, length=num_steps)[0][0]


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
            is_float = jax.tree.map(lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.inexact), data)
            floats, labels = partition(data, is_float)

            # The key, the labels and the step are passed on: the backward pass runs outside the loop that made them.
            def objective_of(adapted: Adapted, floats: Any, constants: Any) -> jax.Array:
                labels, key, step = constants
                return objective(adapted, key, merge(floats, labels), step=step)[0]

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
    # The rounding of the coarsest leaf decides.
    rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves((point, length)))
    distance = (1 + optax.tree.norm(point)) * rounding ** (1 / 3)
    scale = jnp.where(length > 0, distance / jnp.where(length > 0, length, 1), 0)
    above, below = (function(add_scaled(point, sign * scale, direction)) for sign in (1, -1))
    width = jnp.where(scale > 0, 2 * scale, 1)
    return jax.tree.map(lambda a, b: jnp.where(scale > 0, (a - b) / width, 0).astype(a.dtype), above, below)


def _nested_scan(body: Callable[..., Any], carry: Any, xs: jax.Array, *, unroll: int) -> Any:
    """Scans in blocks whose steps are recomputed: about ``2 sqrt(steps)`` carries are kept instead of all."""
    size = math.isqrt(len(xs))
    blocks = len(xs) // size
    scan = functools.partial(jax.lax.scan, body, unroll=unroll)
    carry, kept = jax.lax.scan(jax.checkpoint(scan, prevent_cse=False), carry, xs[: blocks * size].reshape(blocks, size))  # pyright: ignore[reportPrivateImportUsage]
    carry, rest = scan(carry, xs[blocks * size :])
    return carry, jax.tree.map(lambda kept, rest: jnp.concatenate([kept.reshape(-1, *rest.shape[1:]), rest]), kept, rest)
