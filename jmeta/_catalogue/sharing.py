"""The rows of the ways of sharing, with their options."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import optax

from jmeta import multitask
from jmeta._catalogue.options import Nothing
from jmeta._catalogue.rows import MultitaskMethod, MultitaskSetting, Sharing, tasks_of
from jmeta._composition import chain
from jmeta._optimizers import penalize
from jmeta.multitask import MultitaskModel


@dataclasses.dataclass(frozen=True)
class SoftOptions:
    """What ties the networks of the tasks.

    Attributes:
      penalty: on their weights.
      penalty_strength: its factor, beside the sum of the losses.
    """

    penalty: Literal["distance_to_mean", "distance_between", "trace_norm"] = "distance_to_mean"
    penalty_strength: float = 1e-3


@dataclasses.dataclass(frozen=True)
class StitchOptions:
    """How towers are mixed.

    Attributes:
      diagonal: what a tower keeps of its own activations at first; the others share the rest.
      unit_rate: how many times faster than the weights the units learn.
    """

    diagonal: float = 0.9
    unit_rate: float = 100.0


@dataclasses.dataclass(frozen=True)
class SluiceOptions:
    """How subspaces of towers are mixed.

    Attributes:
      subspaces: parts of the channels; all stages have as many channels, and sizes, as the first.
      orthogonality: strength of the penalty that keeps the subspaces apart.
      unit_rate: how many times faster than the weights the units learn.
    """

    subspaces: int = 2
    orthogonality: float = 0.0
    unit_rate: float = 100.0


@dataclasses.dataclass(frozen=True)
class AttentionOptions:
    """How tasks attend.

    Attributes:
      attention_width: channels within an attention module.
    """

    attention_width: int = 16


@dataclasses.dataclass(frozen=True)
class CommonExpertsOptions:
    """How many experts there are.

    Attributes:
      num_experts: experts that all tasks have in common.
    """

    num_experts: int = 3


@dataclasses.dataclass(frozen=True)
class ExpertsOptions:
    """How many experts there are.

    Attributes:
      shared_experts: experts that all tasks have in common, of each level where there are levels.
      own_experts: experts of each task, likewise.
    """

    shared_experts: int = 1
    own_experts: int = 1


def _built(
    model: Callable[..., MultitaskModel], given: Mapping[str, str] = {}, *, staged: bool = False
) -> Callable[[Any, MultitaskSetting], Sharing]:
    """Builds a model of an encoder or of its stages; ``given`` says which of its arguments is which option."""

    def build(options: Any, setting: MultitaskSetting) -> Sharing:
        arguments = {argument: getattr(options, option) for argument, option in given.items()}
        return Sharing(model(setting.stages if staged else chain(setting.stages), tasks_of(setting), **arguments))

    return build


def _soft_parameter_sharing(options: SoftOptions, setting: MultitaskSetting) -> Sharing:
    tie = multitask.soft_parameter_sharing(PENALTIES[options.penalty], options.penalty_strength)
    sharing = _built(multitask.independent_networks)(options, setting)
    return sharing._replace(tuned=lambda optimizer: optax.chain(tie, optimizer))


def _cross_stitch_networks(options: StitchOptions, setting: MultitaskSetting) -> Sharing:
    sharing = _built(multitask.cross_stitch_networks, {"diagonal": "diagonal"}, staged=True)(options, setting)
    return sharing._replace(tuned=functools.partial(_with_units, options.unit_rate))


def _sluice_networks(options: SluiceOptions, setting: MultitaskSetting) -> Sharing:
    model = multitask.sluice_networks(setting.stages, tasks_of(setting), subspaces=options.subspaces)
    overlap = functools.partial(multitask.subspace_orthogonality, subspaces=options.subspaces)
    apart = penalize(overlap, options.orthogonality)
    return Sharing(model, lambda optimizer: optax.chain(apart, _with_units(options.unit_rate, optimizer)))


def _with_units(rate: float, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    parts: dict[Any, Any] = {"units": optax.chain(optimizer, optax.scale(rate)), "weights": optimizer}
    return optax.partition(parts, multitask.unit_labels)


PENALTIES = {
    "distance_to_mean": multitask.distance_to_mean,
    "distance_between": multitask.distance_between,
    "trace_norm": multitask.trace_norm,
}
EXPERTS = {"shared": "shared_experts", "own": "own_experts"}
# Stages of one shape, of about as many weights as the problems' own.
ONE_SHAPE = {"channels": (48, 48, 48), "halvings": 1}
METHODS = {
    "hard_parameter_sharing": MultitaskMethod(
        "shares one encoder between heads of the tasks (Caruana 1997)", Nothing, _built(multitask.hard_parameter_sharing)
    ),
    "independent_networks": MultitaskMethod(
        "gives each task a network of its own: the baseline", Nothing, _built(multitask.independent_networks)
    ),
    "soft_parameter_sharing": MultitaskMethod(
        "ties networks of their own by a penalty (Evgeniou 2004, Yang 2017)", SoftOptions, _soft_parameter_sharing
    ),
    "cross_stitch_networks": MultitaskMethod(
        "mixes the towers of the tasks after every stage (Misra 2016)", StitchOptions, _cross_stitch_networks
    ),
    "sluice_networks": MultitaskMethod(
        "mixes subspaces of the towers, and depths (Ruder 2019)",
        SluiceOptions,
        _sluice_networks,
        presets={"multi_glyphs": ONE_SHAPE, "nyuv2": ONE_SHAPE},
    ),
    "multi_task_attention_network": MultitaskMethod(
        "selects features of a shared encoder by masks, MTAN (Liu 2019)",
        AttentionOptions,
        _built(multitask.multi_task_attention_network, {"width": "attention_width"}, staged=True),
    ),
    "multi_gate_mixture_of_experts": MultitaskMethod(
        "mixes common experts by gates of the tasks, MMoE (Ma 2018)",
        CommonExpertsOptions,
        _built(multitask.multi_gate_mixture_of_experts, {"num_experts": "num_experts"}),
    ),
    "customized_gate_control": MultitaskMethod(
        "mixes common and own experts, CGC (Tang 2020)", ExpertsOptions, _built(multitask.customized_gate_control, EXPERTS)
    ),
    "progressive_layered_extraction": MultitaskMethod(
        "parts common and own experts level by level, PLE (Tang 2020)",
        ExpertsOptions,
        _built(multitask.progressive_layered_extraction, EXPERTS, staged=True),
    ),
    "task_conditioned_film": MultitaskMethod(
        "scales and shifts the channels of one encoder for each task (Perez 2018)",
        Nothing,
        _built(multitask.task_conditioned_film, staged=True),
    ),
}
