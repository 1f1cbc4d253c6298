"""From the options of a run to its parts, and :func:`load`."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import optax

from jmeta._catalogue.config import check_ranges, read_config
from jmeta._catalogue.domain_recipes import adapted_model, initial_domain_state
from jmeta._catalogue.multitask_recipes import initial_multitask_state, shared_model
from jmeta._catalogue.optimizers import outer_optimizer
from jmeta._catalogue.options import Config, values_of, with_values
from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.rows import Say, Setting
from jmeta._catalogue.tables import FEW_SHOT_PROBLEMS, LEARNERS, PROBLEMS, check_solves, is_domain_pair, is_multitask
from jmeta._loading import load_params
from jmeta._objectives import over_tasks
from jmeta._scoring import query_loss
from jmeta._steps import Step, TrainState, init_state, make_step
from jmeta._types import Episode, Learner, LossFn, Params, Sampler
from jmeta.multitask._multitask import MultitaskModel
from jmeta.tasks._batching import batch_tasks
from jmeta.transfer._domain_adaptation import DomainAdaptation


class Recipe(NamedTuple):
    """The parts of a run.

    Attributes:
      learner: as it is trained and tested.
      validated: the same after as many adaptation steps as testing takes, with the loss on the query as its loss.
      state: where training starts.
      optimizer: the outer one.
      train: sampler of one step's tasks.
      validation: sampler of one validation task.
      test: sampler of one test task.
      metric: what is reported.
      micro_batch: training tasks that run at once.
    """

    learner: Learner
    validated: Learner
    state: TrainState
    optimizer: optax.GradientTransformation
    train: Sampler
    validation: Sampler
    test: Sampler
    metric: LossFn
    micro_batch: int | None


def prepared(config: Config, say: Say) -> Config:
    """Looks at the data, once, before a run is built.

    Args:
      config: the options of a run.
      say: is given what was found, a sentence at a time.

    Raises:
      ValueError: if an option is out of its range, or the data is not what the method or the options need.
      FileNotFoundError: if the data is not there.
    """
    check_ranges(config)
    return PROBLEMS[config.problem_name].prepare(config, say)


@functools.cache
def build(config: Config) -> Recipe:
    """Makes the parts of a run, once: jax compiles the functions of a second recipe anew.

    Raises:
      ValueError: if an option is out of its range.
      FileNotFoundError: if the data is not there.
    """
    problem, training = FEW_SHOT_PROBLEMS[config.problem_name], config.training
    setting = setting_of(config)
    learner, validated = learners_of(config, setting)
    optimizer = outer_optimizer(config)
    train, validation, test = problem.samplers(config)
    _check_episodes(config, test)
    one_by_one = setting.images and jax.default_backend() == "cpu"
    return Recipe(
        learner,
        validated,
        initial_state(config, learner, optimizer),
        optimizer,
        batch_tasks(train, training.tasks_per_step),
        validation,
        test,
        setting.metric,
        1 if training.micro_batch is None and one_by_one else training.micro_batch,
    )


def training_step(recipe: Recipe) -> Step:
    """Builds the training step of a run."""
    return make_step(over_tasks(recipe.learner.loss), recipe.optimizer, micro_batch=recipe.micro_batch)


def load(directory: str | Path) -> tuple[Learner | MultitaskModel | DomainAdaptation, Params]:
    """Gives the learner or the model of a run, of several tasks or of two domains, and its parameters.

    They are those of the best validation, or the last. No data is read.

    Args:
      directory: what ``jmeta train ... --out`` was given.

    Raises:
      FileNotFoundError: if there is no run, or it has no checkpoint yet.
      ValueError: if ``config.json`` or every checkpoint is damaged, naming the file.
    """
    config = read_config(directory)
    if is_multitask(config):
        return shared_model(config)[1].model, best_params(directory, initial_multitask_state(config))
    if is_domain_pair(config):
        return adapted_model(config), best_params(directory, initial_domain_state(config))
    learner, _ = learners_of(config, setting_of(config))
    return learner, best_params(directory, initial_state(config, learner, outer_optimizer(config)))


def best_params(directory: str | Path, like: TrainState) -> Params:
    """Gives the parameters of the best validation if there was one, else the last; ``like`` is any state of the run."""
    return load_params(directory, like.params)


def setting_of(config: Config) -> Setting:
    """Gives what the problem asks of the method.

    Raises:
      ValueError: if an option is out of its range, or the method does not do what is asked.
    """
    check_ranges(config)
    setting, name = FEW_SHOT_PROBLEMS[config.problem_name].setting(config), config.method_name
    # Of a user's own data the file says what it is.
    check_solves(name, [setting.kind], getattr(config.tasks, "path", None) or config.problem_name)
    if setting.outputs != setting.test_outputs and not LEARNERS[name].any_ways:
        got, expected = setting.test_outputs, setting.outputs
        raise ValueError(f"evaluation_ways must be the ways of training for {name}; got {got}, expected {expected}.")
    if config.baseline and (name == PRETRAINING or setting.kind not in LEARNERS[PRETRAINING].solves):
        raise ValueError(f"baseline must be false for {name} on {config.problem_name}; got true.")
    return setting


def learners_of(config: Config, setting: Setting) -> tuple[Learner, Learner]:
    """Builds the learner as it is trained and as it is validated."""
    method, num_steps = LEARNERS[config.method_name], config.evaluation.evaluation_steps
    learner = method.build(config.method, setting)
    if learner.path is None and num_steps:
        raise ValueError(f"evaluation_steps must be 0 for {config.method_name}, whose adaptation is one step; got {num_steps}.")
    # Few of many tasks diverge after the first steps: parameters are chosen where they will be judged.
    iterative = "inner_steps" in dict(values_of(config.method))
    further = method.build(with_values(config, inner_steps=num_steps).method, setting) if iterative else learner
    return learner, further._replace(loss=query_loss(further.adapt, further.predict, setting.loss_fn))


def _check_episodes(config: Config, test: Sampler) -> None:
    episodes = config.evaluation.episodes
    if episodes is not None and not 2 <= episodes <= (test.size or episodes):
        most = "" if test.size is None else f" and at most the {test.size} tasks of the list"
        raise ValueError(f"episodes must be at least 2{most}; got {episodes}.")


def initial_state(
    config: Config, learner: Learner, optimizer: optax.GradientTransformation, key: jax.Array | None = None
) -> TrainState:
    """Makes the state that training starts from, of the run's own seed if no key is given."""

    @jax.jit
    def initial(key: jax.Array, example: Episode) -> TrainState:
        init_key, training_key = jax.random.split(key)
        return init_state(learner.init(init_key, example), optimizer, training_key)

    key = jax.random.key(config.training.seed) if key is None else key
    return initial(key, FEW_SHOT_PROBLEMS[config.problem_name].example(config))
