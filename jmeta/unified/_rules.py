"""Update rules that are generated for a task and see how its learning goes."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jmeta._types import Params

# Below it a gradient's length says nothing.
SMALLEST = 1e-12


class Rule(NamedTuple):
    """The step sizes of one tensor.

    Attributes:
      rates: ``[steps, groups]``, in parameter units per unit of gradient; the last is that of all further steps.
      task: ``[groups]``, what the task adds to the gates; None where there are none.
      progress: ``[2, groups]``, what the loss and the length of the gradient add to them.
    """

    rates: jax.Array
    task: jax.Array | None
    progress: jax.Array | None


def generated_descent(rules: Any) -> optax.GradientTransformationExtraArgs:
    """Descends by step sizes of a tree of :class:`Rule`, one for each tensor.

    The gates see the inverse hyperbolic sine of the loss and half the logarithm of the gradient's squared length.
    """

    def init(params: Params) -> jax.Array:
        del params
        return jnp.zeros((), int)

    def update(updates: Params, state: Any, params: Params | None = None, *, value: Any, **extra: Any) -> tuple[Params, Any]:
        del params, extra
        seen = jnp.arcsinh(value)
        return jax.tree.map(lambda gradient, rule: _step(gradient, rule, state, seen), updates, rules), state + 1

    def blind(updates: Params, state: Any, params: Params | None = None, **extra: Any) -> tuple[Params, Any]:
        return update(updates, state, params, value=0, **extra)

    gated = any(rule.task is not None for rule in jax.tree.leaves(rules, is_leaf=lambda node: isinstance(node, Rule)))
    # What has no gates does not ask for the loss.
    return optax.GradientTransformationExtraArgs(init, cast(Any, update) if gated else blind)


def _step(gradient: jax.Array, rule: Rule, step: jax.Array, seen: Any) -> jax.Array:
    sizes = rule.rates[jnp.minimum(step, len(rule.rates) - 1)]
    if rule.task is not None and rule.progress is not None:
        axes = tuple(range(gradient.ndim - 1)) if len(sizes) > 1 else None
        length = jnp.log(jnp.square(gradient).sum(axis=axes) + SMALLEST) / 2
        sizes = sizes * 2 * jax.nn.sigmoid(rule.task + rule.progress[0] * seen + rule.progress[1] * length)
    return -spread(sizes, gradient) * gradient


def spread(sizes: jax.Array, tensor: jax.Array) -> jax.Array:
    """Gives step sizes ``[groups]`` the rank of their tensor."""
    return sizes.reshape(*[1] * (tensor.ndim - 1), -1) if tensor.ndim else sizes[0]
