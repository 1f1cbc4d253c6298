"""The rows of the ways of sharing, with their options."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import optax

from jmeta import multitask
from jmeta._catalogue.options import Nothing
from jmeta._catalogue.rows import MultitaskMethod, MultitaskSetting, Sharing
from jmeta._composition import chain
from jmeta._optimizers import penalize
from jmeta.multitask import MultitaskModel, Task


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


def _tasks(setting: MultitaskSetting) -> dict[str, Task]:
    return {name: target.task for name, target in setting.targets.items()}


def _plain(model: Callable[..., MultitaskModel], *, staged: bool = False) -> Callable[[Nothing, MultitaskSetting], Sharing]:
    """Builds a model without options, of an encoder or of its stages."""

    def build(options: Nothing, setting: MultitaskSetting) -> Sharing:
        del options
        return Sharing(model(setting.stages if staged else chain(setting.stages), _tasks(setting)))

    return build


def _soft_parameter_sharing(options: SoftOptions, setting: MultitaskSetting) -> Sharing:
    penalties = {
        "distance_to_mean": multitask.distance_to_mean,
        "distance_between": multitask.distance_between,
        "trace_norm": multitask.trace_norm,
    }
    tie = multitask.soft_parameter_sharing(penalties[options.penalty], options.penalty_strength)
    model = multitask.independent_networks(chain(setting.stages), _tasks(setting))
    return Sharing(model, lambda optimizer: optax.chain(tie, optimizer))


def _cross_stitch_networks(options: StitchOptions, setting: MultitaskSetting) -> Sharing:
    model = multitask.cross_stitch_networks(setting.stages, _tasks(setting), diagonal=options.diagonal)
    return Sharing(model, functools.partial(_with_units, options.unit_rate))


def _sluice_networks(options: SluiceOptions, setting: MultitaskSetting) -> Sharing:
    model = multitask.sluice_networks(setting.stages, _tasks(setting), subspaces=options.subspaces)
    overlap = functools.partial(multitask.subspace_orthogonality, subspaces=options.subspaces)
    apart = penalize(overlap, options.orthogonality)

    def tuned(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        faster = _with_units(options.unit_rate, optimizer)
        return optax.chain(apart, faster) if options.orthogonality else faster

    return Sharing(model, tuned)


def _with_units(rate: float, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    parts: dict[Any, Any] = {"units": optax.chain(optimizer, optax.scale(rate)), "weights": optimizer}
    return optax.partition(parts, multitask.unit_labels)


def _multi_task_attention_network(options: AttentionOptions, setting: MultitaskSetting) -> Sharing:
    width = options.attention_width
    return Sharing(multitask.multi_task_attention_network(setting.stages, _tasks(setting), width=width))


def _multi_gate_mixture_of_experts(options: CommonExpertsOptions, setting: MultitaskSetting) -> Sharing:
    experts = options.num_experts
    return Sharing(multitask.multi_gate_mixture_of_experts(chain(setting.stages), _tasks(setting), num_experts=experts))


def _experts(
    model: Callable[..., MultitaskModel], *, staged: bool = False
) -> Callable[[ExpertsOptions, MultitaskSetting], Sharing]:
    """Builds a model of common and own experts, of which the stages are levels or each expert a chain."""

    def build(options: ExpertsOptions, setting: MultitaskSetting) -> Sharing:
        counts = {"shared": options.shared_experts, "own": options.own_experts}
        return Sharing(model(setting.stages if staged else chain(setting.stages), _tasks(setting), **counts))

    return build


# Stages of one shape, of about as many weights as the problems' own.
ONE_SHAPE = {"channels": (48, 48, 48), "halvings": 1}
METHODS = {
    "hard_parameter_sharing": MultitaskMethod(
        "shares one encoder between heads of the tasks (Caruana 1997)", Nothing, _plain(multitask.hard_parameter_sharing)
    ),
    "independent_networks": MultitaskMethod(
        "gives each task a network of its own: the baseline", Nothing, _plain(multitask.independent_networks)
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
        "selects features of a shared encoder by masks, MTAN (Liu 2019)", AttentionOptions, _multi_task_attention_network
    ),
    "multi_gate_mixture_of_experts": MultitaskMethod(
        "mixes common experts by gates of the tasks, MMoE (Ma 2018)", CommonExpertsOptions, _multi_gate_mixture_of_experts
    ),
    "customized_gate_control": MultitaskMethod(
        "mixes common and own experts, CGC (Tang 2020)", ExpertsOptions, _experts(multitask.customized_gate_control)
    ),
    "progressive_layered_extraction": MultitaskMethod(
        "parts common and own experts level by level, PLE (Tang 2020)",
        ExpertsOptions,
        _experts(multitask.progressive_layered_extraction, staged=True),
    ),
    "task_conditioned_film": MultitaskMethod(
        "scales and shifts the channels of one encoder for each task (Perez 2018)",
        Nothing,
        _plain(multitask.task_conditioned_film, staged=True),
    ),
}
