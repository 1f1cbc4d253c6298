"""Update rules that are generated for a task and see how its learning goes."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jmeta._types import Params
from jmeta.unified._groups import Groups, map_groups, spread, squared_lengths

# Below it a gradient's squared length says nothing.
SMALLEST = 1e-12


class Rule(NamedTuple):
    """The step sizes of a tree of weights, for each of its groups.

    Attributes:
      rates: ``[steps, groups]``, in parameter units per unit of gradient; the last are those of all further steps.
      task: ``[groups]``, what the task adds to the gates; None where there are none.
      progress: ``[2, groups]``, what the loss and the length of the gradient add to them.
    """

    rates: jax.Array
    task: jax.Array | None = None
    progress: jax.Array | None = None


def is_rule(node: Any) -> bool:
    """Says whether a node of a tree is a rule."""
    return isinstance(node, Rule)


def generated_descent(groups: Groups, rules: Any) -> optax.GradientTransformationExtraArgs:
    """Descends by step sizes of a :class:`Rule`, or of a tree of them whose places are subtrees of the weights.

    The gates see the inverse hyperbolic sine of the loss and half the logarithm of the gradient's squared length.
    """

    def init(params: Params) -> jax.Array:
        del params
        return jnp.zeros((), int)

    def update(updates: Params, state: Any, params: Params | None = None, *, value: Any, **extra: Any) -> tuple[Params, Any]:
        del params, extra
        one_step = functools.partial(_step, groups, state, jnp.arcsinh(value))
        return jax.tree.map(one_step, rules, updates, is_leaf=is_rule), state + 1

    def blind(updates: Params, state: Any, params: Params | None = None, **extra: Any) -> tuple[Params, Any]:
        return update(updates, state, params, value=0, **extra)

    gated = any(rule.task is not None for rule in jax.tree.leaves(rules, is_leaf=is_rule))
    # What has no gates does not ask for the loss.
    return optax.GradientTransformationExtraArgs(init, cast(Any, update) if gated else blind)


def _step(groups: Groups, step: jax.Array, seen: jax.Array, rule: Rule, gradient: Params) -> Params:
    if not jax.tree.leaves(gradient):
        return gradient
    sizes = rule.rates[jnp.minimum(step, len(rule.rates) - 1)]
    if rule.task is not None and rule.progress is not None:
        lengths = jnp.log(squared_lengths(gradient, groups) + SMALLEST) / 2
        sizes = sizes * 2 * jax.nn.sigmoid(rule.task + rule.progress[0] * seen + rule.progress[1] * lengths)
    return map_groups(lambda leaf, sizes: -spread(sizes, leaf) * leaf, gradient, sizes, groups)
