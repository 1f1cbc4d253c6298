"""Several tasks in one network."""

from jmeta.multitask._affinity import task_affinity
from jmeta.multitask._cross_stitch import cross_stitch_networks
from jmeta.multitask._customized_gate_control import customized_gate_control
from jmeta.multitask._evaluation import evaluate_tasks, task_validator
from jmeta.multitask._film import task_conditioned_film
from jmeta.multitask._grouping import Grouping, group_tasks
from jmeta.multitask._hard_sharing import hard_parameter_sharing
from jmeta.multitask._independent import independent_networks
from jmeta.multitask._mtan import multi_task_attention_network
from jmeta.multitask._multi_gate_mixture_of_experts import multi_gate_mixture_of_experts
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model
from jmeta.multitask._progressive_layered_extraction import progressive_layered_extraction
from jmeta.multitask._sluice import sluice_networks, subspace_orthogonality
from jmeta.multitask._soft_sharing import distance_between, distance_to_mean, soft_parameter_sharing, trace_norm
from jmeta.multitask._towers import unit_labels

__all__ = [
    "Grouping",
    "MultitaskModel",
    "Task",
    "Trunk",
    "cross_stitch_networks",
    "customized_gate_control",
    "distance_between",
    "distance_to_mean",
    "evaluate_tasks",
    "group_tasks",
    "hard_parameter_sharing",
    "independent_networks",
    "multi_gate_mixture_of_experts",
    "multi_task_attention_network",
    "multitask_model",
    "progressive_layered_extraction",
    "sluice_networks",
    "soft_parameter_sharing",
    "subspace_orthogonality",
    "task_affinity",
    "task_conditioned_film",
    "task_validator",
    "trace_norm",
    "unit_labels",
]
