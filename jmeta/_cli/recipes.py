"""From the options of a run to its parts, and :func:`load`."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from jmeta._cli.catalogue import LEARNERS, TASKS, default_config
from jmeta._cli.config import CONFIG, check_ranges, from_json
from jmeta._cli.options import Config
from jmeta._loading import load_params
from jmeta._objectives import over_tasks
from jmeta._scoring import query_loss
from jmeta._steps import Step, TrainState, init_state, make_step
from jmeta._types import Episode, Learner, LossFn, Params, Sampler
from jmeta.tasks._batching import batch_tasks


class Recipe(NamedTuple):
    """The parts of a run.

    Attributes:
      learner: as it is trained.
      tested: as it is tested, with the number of classes of a test task.
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
    tested: Learner
    validated: Learner
    state: TrainState
    optimizer: optax.GradientTransformation
    train: Sampler
    validation: Sampler
    test: Sampler
    metric: LossFn
    micro_batch: int | None


@functools.cache
def build(config: Config) -> Recipe:
    """Makes the parts of a run, once: jax compiles the functions of a second recipe anew.

    Raises:
      ValueError: if an option is out of its range.
      FileNotFoundError: if the data is not there.
    """
    entry, training = TASKS[config.tasks_name], config.training
    learner, tested, validated = _learners(config)
    optimizer = _outer_optimizer(config)
    train, validation, test = entry.samplers(config)
    one_by_one = config.tasks_name == "omniglot" and jax.default_backend() == "cpu"
    return Recipe(
        learner,
        tested,
        validated,
        _initial_state(config, learner, optimizer),
        optimizer,
        batch_tasks(train, training.tasks_per_step),
        validation,
        test,
        entry.metric,
        1 if training.micro_batch is None and one_by_one else training.micro_batch,
    )


def training_step(recipe: Recipe) -> Step:
    """Builds the training step of a run."""
    return make_step(over_tasks(recipe.learner.loss), recipe.optimizer, micro_batch=recipe.micro_batch)


def load(directory: str | Path) -> tuple[Learner, Params]:
    """Gives the learner of a run and its parameters: those of the best validation if there was one, else the last.

    The learner is as in testing, with the number of classes of a test task. No data is read.

    Args:
      directory: what ``jmeta train ... --out`` was given.

    Raises:
      FileNotFoundError: if there is no run, or it has no checkpoint yet.
      ValueError: if ``config.json`` or every checkpoint is damaged, naming the file.
    """
    config = read_config(directory)
    learner, tested, _ = _learners(config)
    return tested, best_params(directory, _initial_state(config, learner, _outer_optimizer(config)))


def best_params(directory: str | Path, like: TrainState) -> Params:
    """Gives the parameters of the best validation if there was one, else the last; ``like`` is any state of the run."""
    return load_params(directory, like.params)


def read_config(directory: str | Path) -> Config:
    """Reads ``config.json``.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is not what ``jmeta train`` writes, naming the file.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"directory {directory} holds no run; expected a {CONFIG}, as jmeta train writes it.")
    try:
        found = json.loads(path.read_text())
        defaults = default_config(found["learner_name"], found["tasks_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"file {path} is damaged ({error!r}); expected what jmeta train writes.") from error
    return from_json(Config, found, defaults, f"file {path}")


def _learners(config: Config) -> tuple[Learner, Learner, Learner]:
    """Builds the learner as it is trained, tested and validated."""
    check_ranges(config)
    name, options, entry = config.learner_name, config.learner, TASKS[config.tasks_name]
    num_steps = config.evaluation.evaluation_steps
    ways, test_ways = getattr(config.tasks, "ways", 1), getattr(config.test, "evaluation_ways", 1)
    if ways != test_ways and name != "prototypical_networks":
        raise ValueError(f"evaluation_ways must be the ways of training for {name}; got {test_ways}, expected {ways}.")
    if config.baseline and (config.tasks_name != "sinusoid" or name == "pretraining"):
        raise ValueError(f"baseline must be false for {name} on {config.tasks_name}; got true.")

    def learner(options: Any, ways: int) -> Learner:
        return LEARNERS[name].build(options, entry.network(config.network, ways), entry.loss_fn, ways)

    tested = learner(options, test_ways)
    if tested.path is None and num_steps:
        raise ValueError(f"evaluation_steps must be 0 for {name}, whose adaptation is one step; got {num_steps}.")
    # Few of many tasks diverge after the first steps: parameters are chosen where they will be judged.
    further = dataclasses.replace(options, inner_steps=num_steps) if hasattr(options, "inner_steps") else options
    validated = learner(further, test_ways)
    validated = validated._replace(loss=query_loss(validated.adapt, validated.predict, entry.loss_fn))
    return learner(options, ways), tested, validated


def _initial_state(config: Config, learner: Learner, optimizer: optax.GradientTransformation) -> TrainState:
    @jax.jit
    def initial(key: jax.Array, example: Episode) -> TrainState:
        init_key, training_key = jax.random.split(key)
        return init_state(learner.init(init_key, example), optimizer, training_key)

    return initial(jax.random.key(config.training.seed), TASKS[config.tasks_name].example(config))


def _outer_optimizer(config: Config) -> optax.GradientTransformation:
    training = config.training
    schedules = {
        "constant": optax.constant_schedule(training.learning_rate),
        "cosine": optax.cosine_decay_schedule(training.learning_rate, training.steps),
        "linear": optax.linear_schedule(training.learning_rate, 0, training.steps),
    }
    optimizer = optax.adam if training.outer_optimizer == "adam" else optax.sgd
    return optimizer(schedules[training.schedule])
