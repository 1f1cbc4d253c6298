"""Experts, which are copies of one model, and gates that mix what they say."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jmeta._composition import keys_of
from jmeta._rows import like
from jmeta._sentences import kinds, shapes
from jmeta._types import Key, Mask, Model, Params

Gate = Callable[[int], Model]  # Of a number of experts, a model from inputs to as many logits.


class GatedExperts(NamedTuple):
    """Parameters of several experts and of the gate that mixes them with others."""

    experts: list[Params]
    gate: Params


def linear_gate(experts: int) -> Model:
    """Makes logits ``[n, experts]`` of inputs ``[n, ...]``, linearly and without a bias.

    Raises:
      ValueError: from the model, for inputs that are no single array.
    """

    def flat(x: Any) -> jax.Array:
        if not hasattr(x, "ndim"):
            raise ValueError(f"gate must be given where inputs are no single array; got inputs {kinds(x)}.")
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def init(key: jax.Array, x: Any) -> Params:
        return jax.nn.initializers.lecun_normal()(key, (flat(x).shape[1], experts))

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        del key, mask
        return flat(x) @ params

    return Model(init, apply)


def init_experts(expert: Model, count: int, key: jax.Array, x: Any) -> list[Params]:
    """Makes the parameters of several experts."""
    return [expert.init(expert_key, x) for expert_key in jax.random.split(key, count)]


def init_gated(expert: Model, count: int, gate: Model, key: jax.Array, x: Any) -> GatedExperts:
    """Makes the parameters of several experts and of a gate on what they are given."""
    experts_key, gate_key = jax.random.split(key)
    return GatedExperts(init_experts(expert, count, experts_key, x), gate.init(gate_key, x))


def run_experts(expert: Model, params: Sequence[Params], x: Any, key: Key, mask: Mask) -> list[Any]:
    """Gives what each expert says.

    One after another: under ``vmap`` a convolution with weights of its own for each expert is slow on the CPU.
    """
    return [expert.apply(weights, x, key=part, mask=mask) for weights, part in zip(params, keys_of(key, len(params)), strict=True)]


def mixed(gate: Gate, params: Params, x: Any, outputs: Sequence[Any], key: Key, mask: Mask) -> Any:
    """Mixes what experts say, leaves ``[n, ...]``, by the softmax of the logits of a gate on ``x``.

    Raises:
      ValueError: if the gate gives anything but one logit per row and expert.
    """
    logits = gate(len(outputs)).apply(params, x, key=key, mask=mask)
    rows = jax.tree.leaves(x)[0].shape[0]
    if shapes(logits) != (rows, len(outputs)):
        raise ValueError(f"gate must give logits [n, experts], {(rows, len(outputs))}; got {shapes(logits)}.")
    weights = jax.nn.softmax(logits)

    def mixture(*leaves: jax.Array) -> jax.Array:
        parts = [like(weights[:, at].astype(leaf.dtype), leaf) * leaf for at, leaf in enumerate(leaves)]
        return sum(parts[1:], parts[0])

    return jax.tree.map(mixture, *outputs)


def extracted(expert: Model, gate: Gate, params: GatedExperts, x: Any, common: Sequence[Any], key: Key, mask: Mask) -> Any:
    """Mixes, by a gate on ``x``, what common experts said already with what the experts of ``params`` say of ``x``."""
    experts_key, gate_key = keys_of(key, 2)
    outputs = [*common, *run_experts(expert, params.experts, x, experts_key, mask)]
    return mixed(gate, params.gate, x, outputs, gate_key, mask)
