"""The public names of the core. Each family lists its own; ``jmeta`` offers all of them."""

from jmeta._adaptation import GradientDescent, gradient_descent
from jmeta._adjoints import Adjoint, first_order, implicit, unrolled
from jmeta._catalogue.recipes import load
from jmeta._composition import chain, compose
from jmeta._cost import Cost, cost, does_not_fit
from jmeta._estimates import Estimate, estimate
from jmeta._gradients import value_and_gradient
from jmeta._learners import gradient_based
from jmeta._loading import load_params
from jmeta._measuring import with_measurements
from jmeta._metrics.bootstrap import Predictions, measure
from jmeta._objectives import joint_gradients, mixture, on_head, over_tasks, task_gradients, task_losses
from jmeta._optimizers import penalize, trainable
from jmeta._phases import alternate, alternating_state
from jmeta._precision import compute_in
from jmeta._scoring import query_loss, score
from jmeta._steps import TrainState, init_state, make_step
from jmeta._types import (
    Aggregation,
    Aggregator,
    Batch,
    EncoderHead,
    Episode,
    Learner,
    LossFn,
    Model,
    Objective,
    ObjectiveWithMemory,
    Sampler,
    Weighting,
)
from jmeta._validation import check_episode
from jmeta.evaluation import Evaluation, evaluate, paired_difference, validator
from jmeta.metrics import absolute_error, accuracy, delta_m, mean_rank, negative_log_likelihood, paired_delta_m, squared_error
from jmeta.models import from_equinox, from_functions, from_linen, from_nnx
from jmeta.predictions import predict_batch, predict_episodes
from jmeta.sharding import shard_tasks
from jmeta.sweeping import Sweep, Trial, sweep
from jmeta.training import Best, Fitted, fit

__all__ = [
    "Adjoint",
    "Aggregation",
    "Aggregator",
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
    "ObjectiveWithMemory",
    "Predictions",
    "Sampler",
    "Sweep",
    "TrainState",
    "Trial",
    "Weighting",
    "absolute_error",
    "accuracy",
    "alternate",
    "alternating_state",
    "chain",
    "check_episode",
    "compose",
    "compute_in",
    "cost",
    "delta_m",
    "does_not_fit",
    "estimate",
    "evaluate",
    "first_order",
    "fit",
    "from_equinox",
    "from_functions",
    "from_linen",
    "from_nnx",
    "gradient_based",
    "gradient_descent",
    "implicit",
    "init_state",
    "joint_gradients",
    "load",
    "load_params",
    "make_step",
    "mean_rank",
    "measure",
    "mixture",
    "negative_log_likelihood",
    "on_head",
    "over_tasks",
    "paired_delta_m",
    "paired_difference",
    "penalize",
    "predict_batch",
    "predict_episodes",
    "query_loss",
    "score",
    "shard_tasks",
    "squared_error",
    "sweep",
    "task_gradients",
    "task_losses",
    "trainable",
    "unrolled",
    "validator",
    "value_and_gradient",
    "with_measurements",
]
