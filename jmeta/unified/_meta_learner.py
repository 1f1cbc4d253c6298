"""Meta-learners: from the embedding of a task to initial weights and an update rule."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_counts, check_positive
from jmeta._types import Params
from jmeta.unified._dense import dense, dense_init, zeros_init
from jmeta.unified._groups import GROUPS, Groups, count_groups, map_groups, mix, parted
from jmeta.unified._parts import MetaLearner
from jmeta.unified._rules import Rule, generated_descent


def attention_meta_learner(
    *,
    inner_rate: float = 0.01,
    experiences: int = 8,
    width: int = 16,
    groups: Groups = "channel",
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
        bank_key, queries_key, keys_key = jax.random.split(key, 3)
        bank, d = jax.vmap(make)(jax.random.split(bank_key, size)), len(embedding)
        count, params = count_groups(_one(bank), groups), {"bank": bank}
        if attention and size > 1:
            params["queries"] = dense_init(queries_key, d, count * width)
            params["keys"] = jax.random.normal(keys_key, (count, size, width))
        if update_rules:
            params["rates"] = zeros_init(d, max(num_steps, 1) * count)
            params["gates"] = {"task": zeros_init(d, count), "progress": jnp.zeros((2, count))}
        return params

    def shares(params: Params, embedding: jax.Array) -> jax.Array:
        count = count_groups(_one(params["bank"]), groups)
        if "keys" not in params:
            return jnp.full((count, size), 1 / size, embedding.dtype)
        queries = dense(params["queries"], embedding).reshape(count, width)
        return jax.nn.softmax(jnp.einsum("gw,gbw->gb", queries, params["keys"]) / math.sqrt(width), axis=-1)

    def initial(params: Params, embedding: jax.Array) -> Params:
        leaves, structure = jax.tree.flatten(params["bank"])
        each = parted(shares(params, embedding), _one(params["bank"]), groups)
        return jax.tree.unflatten(structure, [mix(*one) for one in zip(leaves, each, strict=True)])

    def rule(params: Params, embedding: jax.Array) -> Rule:
        count = count_groups(_one(params["bank"]), groups)
        if "rates" not in params:
            return Rule(jnp.full((1, count), inner_rate, embedding.dtype))
        rates = inner_rate * jnp.exp(dense(params["rates"], embedding)).reshape(-1, max(count, 1))
        return Rule(rates, dense(params["gates"]["task"], embedding), params["gates"]["progress"])

    def attended(params: Params, embedding: jax.Array) -> Any:
        return map_groups(lambda _, share: share, _one(params["bank"]), shares(params, embedding), groups)

    return MetaLearner(init, initial, rule, functools.partial(generated_descent, groups), inner_rate, groups, attended)


def _one(bank: Params) -> Params:
    """Gives the shapes of the weights that a bank holds several of."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), bank)
