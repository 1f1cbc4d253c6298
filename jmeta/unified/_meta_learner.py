"""Meta-learners: from the embedding of a task to initial weights and an update rule."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_counts, check_positive
from jmeta._types import Params
from jmeta.unified._dense import dense, dense_init, zeros_init
from jmeta.unified._parts import MetaLearner
from jmeta.unified._rules import Rule, generated_descent

GROUPS = ("tensor", "channel")


def attention_meta_learner(
    *,
    inner_rate: float = 0.01,
    experiences: int = 8,
    width: int = 16,
    groups: str = "channel",
    attention: bool = True,
    initial_weights: bool = True,
    update_rules: bool = True,
) -> MetaLearner:
    r"""Mixes a bank of experiences by attention, and makes step sizes that see how learning goes.

    For group g of the weights, with B experiences, each weights :math:`W_b`:

    .. math::

        a_g = \mathrm{softmax}(q_g(e) \cdot K_g / \sqrt{k}), \quad w_g = \textstyle\sum_b a_{gb} W_{gb}, \quad
        s_{gt} = s_0 \exp(r_{gt}(e)) \, 2 \sigma(c_g(e, L_t, |\partial L_t / \partial w_g|))

    with linear q, r and c. Everything about step sizes begins at :math:`s_0`.

    Args:
      inner_rate: :math:`s_0`, in parameter units per unit of gradient.
      experiences: B, how many are in the bank.
      width: k, of queries and keys.
      groups: what has an attention and a step size of its own, each ``"tensor"`` or each output ``"channel"``, the last axis.
      attention: whether the mixture depends on the task; otherwise it is the mean of the bank.
      initial_weights: whether there is a bank; otherwise there are weights to begin with, the same for all tasks.
      update_rules: whether step sizes depend on the task and on how learning goes; otherwise they are :math:`s_0`.

    Raises:
      ValueError: if a number is not positive, or ``groups`` is neither.
    """
    check_positive(inner_rate=inner_rate)
    check_counts(experiences=experiences, width=width)
    if groups not in GROUPS:
        raise ValueError(f"groups must be tensor or channel; got {groups!r}.")
    size = experiences if initial_weights else 1

    def init(key: jax.Array, make: Callable[[jax.Array], Params], embedding: jax.Array, num_steps: int) -> Params:
        bank_key, *keys = jax.random.split(key, 4)
        bank = jax.vmap(make)(jax.random.split(bank_key, size))
        leaves, structure = jax.tree.flatten(bank)

        def each(key: jax.Array, made: Callable[[jax.Array, int], Any]) -> Any:
            parts = jax.random.split(key, max(len(leaves), 1))
            return jax.tree.unflatten(
                structure, [made(one, _count(leaf[0], groups)) for one, leaf in zip(parts, leaves, strict=False)]
            )

        d, params = len(embedding), {"bank": bank}
        if attention and size > 1:
            params["queries"] = each(keys[0], lambda key, count: dense_init(key, d, count * width))
            params["keys"] = each(keys[1], lambda key, count: jax.random.normal(key, (count, size, width)))
        if update_rules:
            params["rates"] = each(keys[2], lambda _, count: zeros_init(d, max(num_steps, 1) * count))
            params["gates"] = each(keys[2], lambda _, count: {"task": zeros_init(d, count), "progress": jnp.zeros((2, count))})
        return params

    def shares(params: Params, embedding: jax.Array) -> Any:
        def of_leaf(leaf: jax.Array, queries: Any = None, keys: Any = None) -> jax.Array:
            if keys is None:
                return jnp.full((_count(leaf[0], groups), size), 1 / size, leaf.dtype)
            query = dense(queries, embedding).reshape(keys.shape[0], 1, width)
            return jax.nn.softmax((query * keys).sum(axis=-1) / math.sqrt(width), axis=-1)

        return _each_leaf(of_leaf, params["bank"], params.get("queries"), params.get("keys"))

    def initial(params: Params, embedding: jax.Array) -> Params:
        def mixed(leaf: jax.Array, share: jax.Array) -> jax.Array:
            if groups == "tensor" or leaf.ndim == 1:
                return jnp.tensordot(share[0], leaf, axes=1)
            return jnp.einsum("gb,b...g->...g", share, leaf)

        return jax.tree.map(mixed, params["bank"], shares(params, embedding))

    def rule(params: Params, embedding: jax.Array) -> Any:
        def of_leaf(leaf: jax.Array, rates: Any = None, gates: Any = None) -> Rule:
            count = _count(leaf[0], groups)
            if rates is None or gates is None:
                return Rule(jnp.full((1, count), inner_rate, leaf.dtype), None, None)
            sizes = inner_rate * jnp.exp(dense(rates, embedding)).reshape(-1, count)
            return Rule(sizes, dense(gates["task"], embedding), gates["progress"])

        return _each_leaf(of_leaf, params["bank"], params.get("rates"), params.get("gates"))

    return MetaLearner(init, initial, rule, generated_descent, inner_rate, shares)


def _count(leaf: Any, groups: str) -> int:
    return leaf.shape[-1] if groups == "channel" and leaf.ndim else 1


def _each_leaf(function: Callable[..., Any], bank: Params, *rest: Any) -> Any:
    """Calls a function with each leaf of the bank and what stands in its place in other trees, where there are any."""
    leaves, structure = jax.tree.flatten(bank)
    others = [structure.flatten_up_to(tree) for tree in rest if tree is not None]
    return jax.tree.unflatten(structure, [function(*parts) for parts in zip(leaves, *others, strict=True)])
