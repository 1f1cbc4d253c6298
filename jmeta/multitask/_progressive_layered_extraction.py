"""Progressive layered extraction, PLE (Tang, Liu, Zhao and Gong, 2020): common and own experts that part level by level.

*Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
Recommendations*, RecSys, section 4.2.

There is no code of the authors; LibMTL's has neither the shared gate nor experts that are given the common features.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jmeta._composition import check_models, fitted, keys_of, outputs_like
from jmeta._options import check_counts
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.multitask._experts import Gate, GatedExperts, extracted, init_experts, init_gated, linear_gate, mixed, run_experts
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


class Level(NamedTuple):
    """Parameters of one level below the last: what all tasks have in common, and what each adds to it."""

    common: GatedExperts
    own: dict[str, GatedExperts]


class Below(NamedTuple):
    """What the level below the last said: what its experts were given, by task, and their outputs."""

    streams: dict[str, Any] | None
    common: list[Any]
    own: dict[str, list[Any]]


def progressive_layered_extraction(
    levels: Sequence[Model], tasks: Mapping[str, Task], *, shared: int = 2, own: int = 2, gate: Gate = linear_gate
) -> MultitaskModel:
    r"""Parts what tasks have in common from what is theirs, level by level (PLE).

    At level :math:`l` the experts of task k are given :math:`h_k^{l-1}` and the common ones :math:`h_0^{l-1}`, at first x; then

    .. math::
       h_k^l = \mathrm{softmax}(W_k^l h_k^{l-1}) [S^l; E_k^l], \qquad
       h_0^l = \mathrm{softmax}(W_0^l h_0^{l-1}) [S^l; E_1^l; \dots; E_K^l]

    of the outputs :math:`S^l` of common experts and :math:`E_k^l` of those of a task. All tasks reach what :math:`h_0` is mixed of,
    so own are a task's experts and gate of the last level, and its gate of the level below; everything else is shared. One level
    is customized gate control.

    Args:
      levels: the expert of each level, ``features -> features``; each expert is one with parameters of its own.
      tasks: by name, a head ``features -> outputs`` and a loss.
      shared: experts of a level that all tasks have in common.
      own: experts of a level of each task.
      gate: of a number of experts, a model ``features -> logits [n, experts]``; by default linear in the flattened features. The
        common experts come first, then those of the tasks by name.

    Raises:
      ValueError: if there are no tasks or levels, a part is no model, or a number of experts is below 1; from the functions, if
        experts do not take what those below give, data has other names, or a gate gives other logits.
    """
    levels = check_models("levels", levels)
    check_counts(shared=shared, own=own)
    names, last = sorted(tasks), len(levels) - 1
    task_gate, common_gate = gate(shared + own), gate(shared + own * len(tasks))

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        given, lower, gates = x, [], dict.fromkeys(names, ())
        *lower_keys, last_key = jax.random.split(key, last + 1)
        for depth, lower_key in enumerate(lower_keys):
            level_key, gate_key, shape_key = jax.random.split(lower_key, 3)
            like, common, parts = experts_of(depth, level_key, given)
            if depth == last - 1:
                gates = {name: part.gate for name, part in parts.items()}
                parts = {name: part._replace(gate=()) for name, part in parts.items()}
            lower.append(Level(GatedExperts(common, common_gate.init(gate_key, like)), parts))
            outputs = outputs_like(levels[depth].apply, levels[depth].init(shape_key, like), like)
            given = dict.fromkeys(names, outputs)
        _, common, parts = experts_of(last, last_key, given)
        return EncoderHead((lower, common), {name: (gates[name], parts[name]) for name in names})

    def experts_of(depth: int, key: jax.Array, given: dict[str, Any]) -> tuple[Any, list[Params], dict[str, GatedExperts]]:
        like, level = next(iter(given.values())), levels[depth]
        common_key, shape_key, *keys = jax.random.split(key, len(names) + 2)
        fitted(f"levels[{depth}]", f"levels[{depth - 1}]" if depth else "the input", level, shape_key, like)
        parts = {name: init_gated(level, own, task_gate, part, given[name]) for name, part in zip(names, keys, strict=True)}
        return like, init_experts(level, shared, common_key, like), parts

    def encode(shared: Params, x: Any, *, key: Key = None, mask: Mask = None) -> tuple[Below | None, list[Any]]:
        (lower, top), below, streams, common = shared, None, dict.fromkeys(names, x), x
        for depth, (level, level_key) in enumerate(zip(lower, keys_of(key, last + 1), strict=False)):
            common_key, gate_key, *keys = keys_of(level_key, 2 * len(names) + 2)
            outputs = run_experts(levels[depth], level.common.experts, common, common_key, mask)
            of_tasks = {
                name: run_experts(levels[depth], level.own[name].experts, streams[name], part, mask)
                for name, part in zip(names, keys[: len(names)], strict=True)
            }
            everything = [*outputs, *(output for name in names for output in of_tasks[name])]
            common = mixed(gate, level.common.gate, common, everything, gate_key, mask)
            if depth == last - 1:
                below = Below(streams if depth else None, outputs, of_tasks)
            else:
                streams = {
                    name: mixed(gate, level.own[name].gate, streams[name], [*outputs, *of_tasks[name]], part, mask)
                    for name, part in zip(names, keys[len(names) :], strict=True)
                }
        return below, run_experts(levels[last], top, common, keys_of(key, last + 1)[last], mask)

    def features(params: EncoderHead, given: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        (x, (below, top)), (gate_params, experts) = given, params.head
        below_key, last_key = keys_of(key, 2)
        if below is not None:
            x = x if below.streams is None else below.streams[name]
            x = mixed(gate, gate_params, x, [*below.common, *below.own[name]], below_key, mask)
        return extracted(levels[last], gate, experts, x, top, last_key, mask)

    return multitask_model(Trunk(init, features, encode, reads_input=True), tasks)
