"""Multi-gate mixture of experts, MMoE (Ma, Zhao, Yi, Chen, Hong and Chi, 2018): common experts, and a gate for each task.

*Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts*, KDD, equations 5 and 6.
"""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._options import check_counts, check_model
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.multitask._experts import Gate, init_experts, linear_gate, mixed, run_experts
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


def multi_gate_mixture_of_experts(
    expert: Model, tasks: Mapping[str, Task], *, num_experts: int = 8, gate: Gate = linear_gate
) -> MultitaskModel:
    r"""Gives each task a mixture of its own of experts that all tasks have in common (MMoE).

    .. math:: h_k(x) = \sum_e \mathrm{softmax}(g_k(x))_e \, E_e(x), \qquad g_k(x) = W_k x

    The experts are shared, and run once for tasks that share their input; a gate is its task's own. With one expert this is hard
    parameter sharing.

    Args:
      expert: ``x -> features``, a pytree of leaves ``[n, ...]``; each expert is one with parameters of its own.
      tasks: by name, a head ``features -> outputs`` and a loss.
      num_experts: how many.
      gate: of a number of experts, a model ``x -> logits [n, experts]``; by default linear in the flattened input.

    Raises:
      ValueError: if there are no tasks, a part is no model, or ``num_experts`` is below 1; from the functions, if data has other
        names, or a gate gives other logits.
    """
    check_model("expert", expert)
    check_counts(num_experts=num_experts)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        experts_key, *keys = jax.random.split(key, len(x) + 1)
        gates = {name: gate(num_experts).init(part, x[name]) for name, part in zip(x, keys, strict=True)}
        return EncoderHead(init_experts(expert, num_experts, experts_key, next(iter(x.values()))), gates)

    def encode(shared: Params, x: Any, *, key: Key = None, mask: Mask = None) -> list[Any]:
        return run_experts(expert, shared, x, key, mask)

    def features(params: EncoderHead, given: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name
        x, outputs = given
        return mixed(gate, params.head, x, outputs, key, mask)

    return multitask_model(Trunk(init, features, encode, reads_input=True), tasks)
