"""Adapting to one task by gradient descent."""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jmeta._adjoints import Adjoint, Implicit, first_order
from jmeta._options import check_counts
from jmeta._sentences import first_line
from jmeta._types import Adapted, Objective

# An optax transformation, or a function to one from a rule: meta-parameters of its own.
InnerOptimizer = optax.GradientTransformation | Callable[[Any], optax.GradientTransformation]
# The trees that an optimiser was probed on, so that each is probed once in a process and not in every program that is traced.
_SOUND: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()


class GradientDescent(NamedTuple):
    """An iterative adaptation.

    Attributes:
      run: ``(initial, key, data, rule=None) -> adapted`` after the training number of steps.
      path: ``(initial, key, data, num_steps, rule=None) -> adapted`` after 0, 1, ..., ``num_steps`` steps, with a leading
        ``[num_steps + 1]`` axis. ``num_steps`` may exceed the training number.
    """

    run: Callable[..., Adapted]
    path: Callable[..., Adapted]


def gradient_descent(objective: Objective, inner_optimizer: InnerOptimizer, num_steps: int, *, adjoint: Adjoint) -> GradientDescent:
    """Builds the adaptation ``initial -> adapted`` by ``num_steps`` steps of an optimiser on one task's objective.

    Args:
      objective: the inner objective; its ``step`` is the inner step, its key is folded with it.
      inner_optimizer: any optax transformation, or a function from a rule to one; one that asks for ``value``, ``grad`` or
        ``value_fn`` is given them.
      num_steps: the number of steps that :attr:`GradientDescent.run` takes; 0 leaves the initial parameters as they are.
      adjoint: :func:`unrolled`, :func:`first_order` or :func:`implicit`.

    Raises:
      ValueError: if ``num_steps`` is negative; from ``run`` and ``path``, if the adjoint differentiates the optimiser's updates
        and the optimiser has no finite derivative at a zero gradient, or it asks for what an inner loop does not have.
    """
    check_counts(0, num_steps=num_steps)
    if adjoint.implicit is not None:
        return _to_stationary_point(objective, inner_optimizer, num_steps, adjoint.implicit)
    gradient = adjoint.gradient(objective)

    def descend(initial: Adapted, key: jax.Array, data: Any, rule: Any, num_steps: int, keep: bool) -> tuple[Adapted, Any]:
        optimizer = optax.with_extra_args_support(_made(inner_optimizer, rule))
        wants_value = _wants_value(optimizer, initial)
        if adjoint.differentiates_updates and num_steps:
            check_inner_optimizer(inner_optimizer, initial, rule)
        # What a line search looks at is constant too: there is no reverse mode through its loop.
        seen = jax.lax.stop_gradient if wants_value and not adjoint.differentiates_updates else lambda tree: tree

        def body(carry: tuple[Adapted, Any], step: jax.Array) -> tuple[tuple[Adapted, Any], Any]:
            (adapted, state), step_key = carry, jax.random.fold_in(key, step)
            grads = gradient(adapted, step_key, data, step)

            def value_fn(adapted: Adapted) -> jax.Array:
                return seen(objective(adapted, step_key, data, step=step)[0])

            asked = _asked(value_fn(seen(adapted)), grads, value_fn) if wants_value else {}
            updates, state = optimizer.update(grads, state, seen(adapted), **asked)
            adapted = optax.apply_updates(adapted, updates)
            return (adapted, state), adapted if keep else None

        carry = (initial, optimizer.init(seen(initial)))
        (adapted, _), kept = adjoint.scan(body, carry, jnp.arange(num_steps))
        return adapted, kept

    def run(initial: Adapted, key: jax.Array, data: Any, rule: Any = None) -> Adapted:
        return descend(initial, key, data, rule, num_steps, keep=False)[0]

    def path(initial: Adapted, key: jax.Array, data: Any, num_steps: int, rule: Any = None) -> Adapted:
        _, kept = descend(initial, key, data, rule, num_steps, keep=True)
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), initial, kept)

    return GradientDescent(run, path)


def _to_stationary_point(objective: Objective, inner_optimizer: InnerOptimizer, num_steps: int, how: Implicit) -> GradientDescent:
    def proximal(adapted: Adapted, key: jax.Array, data: Any, *, step: Any = 0) -> Any:
        data, initial = data
        value, metrics = objective(adapted, key, data, step=step)
        distance = optax.tree.norm(optax.tree.sub(adapted, initial), squared=True)
        return value + how.proximal_strength / 2 * distance, metrics

    descent = gradient_descent(proximal, inner_optimizer, num_steps, adjoint=first_order())

    def run(initial: Adapted, key: jax.Array, data: Any, rule: Any = None) -> Adapted:
        def slope(adapted: Adapted) -> Adapted:
            return jax.grad(lambda adapted: proximal(adapted, key, (data, initial))[0])(adapted)

        def solve(_: Any, start: Adapted) -> Adapted:
            return descent.run(start, key, (data, initial), rule)

        return jax.lax.custom_root(slope, jax.lax.stop_gradient(initial), solve, how.solve)

    def path(initial: Adapted, key: jax.Array, data: Any, num_steps: int, rule: Any = None) -> Adapted:
        return descent.path(initial, key, (data, initial), num_steps, rule)

    return GradientDescent(run, path)


def _made(inner_optimizer: InnerOptimizer, rule: Any) -> optax.GradientTransformation:
    if isinstance(inner_optimizer, optax.GradientTransformation):
        return inner_optimizer
    made = inner_optimizer(rule)
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"inner_optimizer must make an optax transformation of its rule; got {type(made).__name__}.")
    return made


def _asked(value: Any, grads: Adapted, value_fn: Callable[[Adapted], Any]) -> dict[str, Any]:
    return {"value": value, "grad": grads, "value_fn": value_fn}


def _wants_value(optimizer: optax.GradientTransformationExtraArgs, initial: Adapted) -> bool:
    """Finds out whether an optimiser asks for more than the gradient.

    Raises:
      ValueError: if it asks for what an inner loop does not have.
    """

    def update(initial: Adapted, **asked: Any) -> Any:
        return optimizer.update(initial, optimizer.init(initial), initial, **asked)

    try:
        jax.eval_shape(update, initial)
    except TypeError as missing:
        if "argument" not in str(missing):
            raise
    else:
        return False
    try:
        jax.eval_shape(lambda initial: update(initial, **_asked(jnp.zeros(()), initial, optax.tree.sum)), initial)
    except TypeError as error:
        raise ValueError(
            f"inner_optimizer must do with value, grad and value_fn; got one that asks more: {first_line(error)}"
        ) from error
    return True


def check_kind(inner_optimizer: Any, *, has_rule: bool) -> None:
    """Checks that an inner optimiser is a transformation or, with a rule, a function from it to one.

    Raises:
      ValueError: if it is not.
    """
    transforms = isinstance(inner_optimizer, optax.GradientTransformation)
    given = "a transformation" if transforms else type(inner_optimizer).__name__
    if has_rule and not callable(inner_optimizer):
        raise ValueError(f"inner_optimizer must be a function from the rule to an optax transformation; got {given}.")
    if not has_rule and not transforms:
        raise ValueError(f"inner_optimizer must be an optax transformation, or come with a rule that it is made of; got {given}.")


def check_inner_optimizer(inner_optimizer: InnerOptimizer, initial: Adapted, rule: Any = None) -> None:
    """Probes the derivatives of one update of the adapted tree at a zero gradient, as a dead unit gives it.

    Args:
      inner_optimizer: an optax transformation, or a function from a rule to one.
      initial: what adapts, or its shapes.
      rule: what the transformation is made of, or its shapes.

    Raises:
      ValueError: if a derivative is not finite, or there is none.
    """
    kind = jax.tree.structure((initial, rule)), *map(jnp.shape, jax.tree.leaves((initial, rule)))
    made_by = inner_optimizer.update if isinstance(inner_optimizer, optax.GradientTransformation) else inner_optimizer
    if kind in _SOUND.setdefault(made_by, set()):
        return
    params, rule = jax.tree.map(lambda leaf: np.ones(jnp.shape(leaf), jnp.result_type(leaf)), (initial, rule))

    def moved(gradient: Adapted, params: Adapted) -> jax.Array:
        optimizer = optax.with_extra_args_support(_made(inner_optimizer, rule))
        asked = _asked(jnp.ones(()), gradient, optax.tree.sum) if _wants_value(optimizer, params) else {}
        updates, _ = optimizer.update(gradient, optimizer.init(params), params, **asked)
        return jnp.asarray(optax.tree.sum(updates))

    # One program: called one by one, every operation would be compiled in every new process.
    probe = jax.jit(lambda gradient, params: optax.tree.sum(jax.grad(moved, argnums=(0, 1))(gradient, params)))
    try:
        # The tree is known only where an outer program is traced, which is not to be part of this.
        with jax.ensure_compile_time_eval():
            derivative = probe(jax.tree.map(np.zeros_like, params), params)
    except ValueError as error:
        raise ValueError(
            f"inner_optimizer must be differentiable for this adjoint; got one that is not ({first_line(error)}): use the "
            "first_order() or implicit() adjoint."
        ) from error
    if isinstance(derivative, Tracer):
        return  # The optimiser itself was made in a traced function, and says nothing here.
    if not np.isfinite(derivative):
        raise ValueError(
            "inner_optimizer has no finite derivative at a zero gradient, so one dead unit would make the whole meta-gradient "
            "NaN; expected a differentiable one: pass eps_root=1e-8 to the Adam family, avoid clip_by_global_norm and "
            "normalised updates, or use the first_order() adjoint."
        )
    _SOUND[made_by].add(kind)
