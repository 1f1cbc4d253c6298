"""Customized gate control, CGC (Tang, Liu, Zhao and Gong, 2020): experts for all tasks, and experts of each task.

*Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
Recommendations*, RecSys, section 4.1.
"""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._options import check_counts, check_model
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.multitask._experts import Gate, extracted, init_experts, init_gated, linear_gate, run_experts
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


def customized_gate_control(
    expert: Model, tasks: Mapping[str, Task], *, shared: int = 2, own: int = 2, gate: Gate = linear_gate
) -> MultitaskModel:
    r"""Gives each task a mixture of experts that all tasks have in common and of experts of its own (CGC).

    .. math:: h_k(x) = \sum_e \mathrm{softmax}(W_k x)_e \, [S_1(x), \dots, S_s(x), E_{k1}(x), \dots, E_{ko}(x)]_e

    The common experts are shared, and run once for tasks that share their input; those of a task and its gate are its own.
    Without own experts this is MMoE, without common ones and with one own it is independent networks.

    Args:
      expert: ``x -> features``, a pytree of leaves ``[n, ...]``; each expert is one with parameters of its own.
      tasks: by name, a head ``features -> outputs`` and a loss.
      shared: experts that all tasks have in common.
      own: experts of each task.
      gate: of a number of experts, a model ``x -> logits [n, experts]``; by default linear in the flattened input. The common
        experts come first.

    Raises:
      ValueError: if there are no tasks, a part is no model, a number of experts is negative, or both are 0; from the functions, if
        data has other names, or a gate gives other logits.
    """
    check_model("expert", expert)
    check_counts(0, shared=shared, own=own)
    if not shared + own:
        raise ValueError("shared and own must leave each task at least one expert; got 0 of both.")

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        experts_key, *keys = jax.random.split(key, len(x) + 1)
        parts = {name: init_gated(expert, own, gate(shared + own), part, x[name]) for name, part in zip(x, keys, strict=True)}
        return EncoderHead(init_experts(expert, shared, experts_key, next(iter(x.values()))), parts)

    def encode(shared: Params, x: Any, *, key: Key = None, mask: Mask = None) -> list[Any]:
        return run_experts(expert, shared, x, key, mask)

    def features(params: EncoderHead, given: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name
        x, common = given
        return extracted(expert, gate, params.head, x, common, key, mask)

    return multitask_model(Trunk(init, features, encode, reads_input=True), tasks)
