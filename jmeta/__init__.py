"""Meta-learning, multi-task learning and knowledge transfer on one functional core."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jmeta import aggregation as aggregation
    from jmeta import checkpointing as checkpointing
    from jmeta import nn as nn
    from jmeta import plotting as plotting
    from jmeta import tasks as tasks
    from jmeta import testing as testing
    from jmeta import weighting as weighting
    from jmeta._adaptation import Adjoint as Adjoint
    from jmeta._adaptation import GradientDescent as GradientDescent
    from jmeta._adaptation import first_order as first_order
    from jmeta._adaptation import gradient_descent as gradient_descent
    from jmeta._adaptation import unrolled as unrolled
    from jmeta._cli.recipes import load as load
    from jmeta._cost import Cost as Cost
    from jmeta._cost import cost as cost
    from jmeta._cost import does_not_fit as does_not_fit
    from jmeta._gradients import value_and_gradient as value_and_gradient
    from jmeta._objectives import mixture as mixture
    from jmeta._objectives import on_head as on_head
    from jmeta._objectives import over_tasks as over_tasks
    from jmeta._objectives import query_loss as query_loss
    from jmeta._objectives import score as score
    from jmeta._objectives import task_gradients as task_gradients
    from jmeta._objectives import task_losses as task_losses
    from jmeta._precision import compute_in as compute_in
    from jmeta._steps import TrainState as TrainState
    from jmeta._steps import init_state as init_state
    from jmeta._steps import make_step as make_step
    from jmeta._types import Aggregation as Aggregation
    from jmeta._types import Batch as Batch
    from jmeta._types import EncoderHead as EncoderHead
    from jmeta._types import Episode as Episode
    from jmeta._types import Learner as Learner
    from jmeta._types import LossFn as LossFn
    from jmeta._types import Model as Model
    from jmeta._types import Objective as Objective
    from jmeta._types import Sampler as Sampler
    from jmeta._types import Weighting as Weighting
    from jmeta.aggregation._aggregate import aggregate as aggregate
    from jmeta.aggregation._pcgrad import pcgrad as pcgrad
    from jmeta.evaluation import Estimate as Estimate
    from jmeta.evaluation import Evaluation as Evaluation
    from jmeta.evaluation import estimate as estimate
    from jmeta.evaluation import evaluate as evaluate
    from jmeta.evaluation import paired_difference as paired_difference
    from jmeta.evaluation import validator as validator
    from jmeta.metric_based._prototypical import prototypical_networks as prototypical_networks
    from jmeta.metrics import accuracy as accuracy
    from jmeta.metrics import squared_error as squared_error
    from jmeta.models import compose as compose
    from jmeta.models import from_equinox as from_equinox
    from jmeta.models import from_linen as from_linen
    from jmeta.models import from_nnx as from_nnx
    from jmeta.multitask._hard_sharing import MultitaskModel as MultitaskModel
    from jmeta.multitask._hard_sharing import Task as Task
    from jmeta.multitask._hard_sharing import hard_parameter_sharing as hard_parameter_sharing
    from jmeta.optimization_based._anil import anil as anil
    from jmeta.optimization_based._maml import maml as maml
    from jmeta.optimization_based._reptile import reptile as reptile
    from jmeta.sharding import shard_tasks as shard_tasks
    from jmeta.tasks._arrays import from_arrays as from_arrays
    from jmeta.tasks._batching import batch_tasks as batch_tasks
    from jmeta.tasks._batching import combine as combine
    from jmeta.tasks._batching import pad_episode as pad_episode
    from jmeta.tasks._omniglot import omniglot as omniglot
    from jmeta.tasks._sinusoid import sinusoid as sinusoid
    from jmeta.training import Best as Best
    from jmeta.training import Fitted as Fitted
    from jmeta.training import fit as fit
    from jmeta.weighting._equal import equal_weighting as equal_weighting
    from jmeta.weighting._uncertainty import uncertainty_weighting as uncertainty_weighting

__version__ = "0.1.0"

_MODULES = {
    "jmeta._adaptation": "Adjoint GradientDescent first_order gradient_descent unrolled",
    "jmeta._objectives": "mixture on_head over_tasks query_loss score task_gradients task_losses",
    "jmeta._gradients": "value_and_gradient",
    "jmeta._precision": "compute_in",
    "jmeta._cli.recipes": "load",
    "jmeta._cost": "Cost cost does_not_fit",
    "jmeta._types": "Aggregation Batch EncoderHead Episode Learner LossFn Model Objective Sampler Weighting",
    "jmeta.aggregation._aggregate": "aggregate",
    "jmeta.aggregation._pcgrad": "pcgrad",
    "jmeta.evaluation": "Estimate Evaluation estimate evaluate paired_difference validator",
    "jmeta.metric_based._prototypical": "prototypical_networks",
    "jmeta.metrics": "accuracy squared_error",
    "jmeta.models": "compose from_equinox from_linen from_nnx",
    "jmeta.multitask._hard_sharing": "MultitaskModel Task hard_parameter_sharing",
    "jmeta.optimization_based._anil": "anil",
    "jmeta.optimization_based._maml": "maml",
    "jmeta.optimization_based._reptile": "reptile",
    "jmeta.sharding": "shard_tasks",
    "jmeta.tasks._arrays": "from_arrays",
    "jmeta.tasks._batching": "batch_tasks combine pad_episode",
    "jmeta.tasks._omniglot": "omniglot",
    "jmeta.tasks._sinusoid": "sinusoid",
    "jmeta._steps": "TrainState init_state make_step",
    "jmeta.training": "Best Fitted fit",
    "jmeta.weighting._equal": "equal_weighting",
    "jmeta.weighting._uncertainty": "uncertainty_weighting",
}
_NAMES = {name: module for module, names in _MODULES.items() for name in names.split()}
_SUBMODULES = ("aggregation", "checkpointing", "nn", "plotting", "tasks", "testing", "weighting")

__all__ = [*_NAMES, *_SUBMODULES]  # pyright: ignore[reportUnsupportedDunderAll]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"jmeta.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'jmeta' has no attribute {name!r}.")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
