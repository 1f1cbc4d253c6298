"""The public names of the core. Each family lists its own; ``jmeta`` offers all of them."""

from jmeta._adaptation import Adjoint, GradientDescent, first_order, gradient_descent, unrolled
from jmeta._cli.recipes import load
from jmeta._cost import Cost, cost, does_not_fit
from jmeta._gradients import value_and_gradient
from jmeta._objectives import mixture, on_head, over_tasks, query_loss, score, task_gradients, task_losses
from jmeta._precision import compute_in
from jmeta._steps import TrainState, init_state, make_step
from jmeta._types import Aggregation, Batch, EncoderHead, Episode, Learner, LossFn, Model, Objective, Sampler, Weighting
from jmeta._validation import check_episode
from jmeta.evaluation import Estimate, Evaluation, estimate, evaluate, paired_difference, validator
from jmeta.metrics import accuracy, squared_error
from jmeta.models import compose, from_equinox, from_linen, from_nnx
from jmeta.sharding import shard_tasks
from jmeta.training import Best, Fitted, fit

__all__ = [
    "Adjoint",
    "Aggregation",
    "Batch",
    "Best",
    "Cost",
    "EncoderHead",
    "Episode",
    "Estimate",
    "Evaluation",
    "Fitted",
    "GradientDescent",
    "Learner",
    "LossFn",
    "Model",
    "Objective",
    "Sampler",
    "TrainState",
    "Weighting",
    "accuracy",
    "check_episode",
    "compose",
    "compute_in",
    "cost",
    "does_not_fit",
    "estimate",
    "evaluate",
    "first_order",
    "fit",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "gradient_descent",
    "init_state",
    "load",
    "make_step",
    "mixture",
    "on_head",
    "over_tasks",
    "paired_difference",
    "query_loss",
    "score",
    "shard_tasks",
    "squared_error",
    "task_gradients",
    "task_losses",
    "unrolled",
    "validator",
    "value_and_gradient",
]
