"""From the options of a multi-task run to its parts."""

import functools
from typing import Any, NamedTuple

import jax

from jmeta._catalogue.combining import AGGREGATORS, WEIGHTINGS
from jmeta._catalogue.config import check_ranges
from jmeta._catalogue.optimizers import outer_optimizer
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import Course, MultitaskSetting, Sharing, tasks_of
from jmeta._catalogue.tables import MULTITASK_PROBLEMS, SHARING, check_solves
from jmeta._objectives import joint_gradients, task_gradients, task_losses
from jmeta._steps import Step, TrainState, init_state, make_step
from jmeta._types import Batch, Weighting
from jmeta.aggregation import aggregate
from jmeta.aggregation import sum as sum_of_gradients
from jmeta.multitask._evaluation import task_validator
from jmeta.multitask._multitask import MultitaskModel
from jmeta.sweeping import Trial
from jmeta.tasks._splits import Splits


class MultitaskRecipe(NamedTuple):
    """The parts of a multi-task run.

    Attributes:
      setting: what the problem asks.
      model: as it is trained and tested.
      splits: the examples.
      course: how it is trained.
    """

    setting: MultitaskSetting
    model: MultitaskModel
    splits: Splits
    course: Course


def shared_model(config: Config) -> tuple[MultitaskSetting, Sharing]:
    """Builds the model; no data is read.

    Raises:
      ValueError: if an option is out of its range, or the method does not do what is asked.
    """
    check_ranges(config)
    check_solves(config.method_name, MULTITASK_PROBLEMS[config.problem_name].kinds, config.problem_name)
    if config.training.combining_features and config.training.combining not in AGGREGATORS:
        raise ValueError(f"combining_features must be false for {config.training.combining}, a weighting; got true.")
    setting = MULTITASK_PROBLEMS[config.problem_name].setting(config)
    return setting, SHARING[config.method_name].build(config.method, setting)


@functools.cache
def build_multitask(config: Config) -> MultitaskRecipe:
    """Makes the parts of a run, once: jax compiles the functions of a second recipe anew.

    Raises:
      ValueError: if an option is out of its range.
      FileNotFoundError: if the data is not there.
    """
    setting, sharing = shared_model(config)
    splits = MULTITASK_PROBLEMS[config.problem_name].splits(config)
    trial = multitask_trial(config, splits)
    course = Course(trial.init(jax.random.key(config.training.seed)), trial.step, splits.train, trial.validation)
    return MultitaskRecipe(setting, sharing.model, splits, course)


def multitask_trial(config: Config, splits: Splits) -> Trial:
    """Says how a run is trained on examples that have been read."""
    setting, sharing = shared_model(config)
    optimizer, weighting = _between_tasks(config, sharing)
    return Trial(
        _step(config, sharing.model, optimizer, weighting),
        functools.partial(_initial, config, sharing.model, optimizer, weighting),
        task_validator(sharing.model, tasks_of(setting), splits.validation, batch_size=config.evaluation.evaluation_batch),
    )


def initial_multitask_state(config: Config) -> TrainState:
    """Makes the state that training starts from; no data is read."""
    _, sharing = shared_model(config)
    return _initial(config, sharing.model, *_between_tasks(config, sharing), jax.random.key(config.training.seed))


def _between_tasks(config: Config, sharing: Sharing) -> tuple[Any, Weighting | None]:
    """Makes what takes the training steps: an optimiser behind a weighting, or behind an aggregator."""
    optimizer, name = sharing.tuned(outer_optimizer(config)), config.training.combining
    if name in WEIGHTINGS:
        return optimizer, WEIGHTINGS[name]()
    return aggregate(AGGREGATORS[name](), optimizer, own=sum_of_gradients()), None


def _initial(config: Config, model: MultitaskModel, optimizer: Any, weighting: Weighting | None, key: jax.Array) -> TrainState:
    @jax.jit
    def initial(key: jax.Array, example: Any) -> TrainState:
        init_key, training_key = jax.random.split(key)
        return init_state(model.init(init_key, example), optimizer, training_key, tasks=model.names, weighting=weighting)

    return initial(key, MULTITASK_PROBLEMS[config.problem_name].example(config))


def _step(config: Config, model: MultitaskModel, optimizer: Any, weighting: Weighting | None) -> Step:
    joint = isinstance(MULTITASK_PROBLEMS[config.problem_name].example(config), Batch)
    if weighting is not None:
        return make_step(model.joint_losses if joint else task_losses(model.objectives), optimizer, weighting=weighting)
    if not joint:
        return make_step(task_gradients(model.objectives), optimizer)
    by = "features" if config.training.combining_features else "parameters"
    return make_step(joint_gradients(model.joint_losses, with_respect_to=by), optimizer)
