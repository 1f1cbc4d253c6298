"""Runs in directories: training, the pretrained baseline beside it, and testing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jmeta import checkpointing
from jmeta._catalogue.baseline import BASELINE, baseline_config, fine_tuning_rate
from jmeta._catalogue.config import CONFIG, read_config, write_config
from jmeta._catalogue.domain_recipes import build_domains
from jmeta._catalogue.multitask_recipes import build_multitask
from jmeta._catalogue.options import Config, with_values
from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.recipes import Recipe, best_params, build, training_step
from jmeta._catalogue.results import Measured, evaluation_path, write_evaluation
from jmeta._catalogue.rows import Course, Say
from jmeta._catalogue.tables import FEW_SHOT_PROBLEMS, is_domain_pair, is_multitask
from jmeta._reporting import CHECKPOINTS, read_metrics
from jmeta._types import Learner, Params
from jmeta.evaluation import Evaluation, evaluate, validator
from jmeta.training import fit

DIVERGED = "validation/diverged"


class Tested(NamedTuple):
    """A run, how it and the predictions that ignore the support did on test tasks, and the file that says so."""

    config: Config
    evaluation: Evaluation
    references: dict[str, Measured]
    path: Path


def train_run(directory: Path, config: Config, say: Say) -> None:
    """Trains a run, and its baseline if it has one, from where they are.

    Args:
      directory: where the run is written.
      config: its options, which lie there already.
      say: is given what happens, a sentence at a time.

    Raises:
      FloatingPointError: if a loss is not finite.
      KeyboardInterrupt: on SIGINT, after a checkpoint; on SIGTERM, ``SystemExit(143)``.
    """
    _fit(directory, config, course_of(config), say)
    if config.method_name == PRETRAINING and config.method.fine_tuning_rate is None:
        recipe = build(config)
        rate = fine_tuning_rate(config, recipe.validation, best_params(directory, recipe.state))
        say(f"its step size of fine-tuning, chosen on validation tasks: {rate:g}.")
        write_config(directory, with_values(config, fine_tuning_rate=rate))
    if config.baseline:
        baseline = directory / BASELINE
        if not (baseline / CONFIG).is_file():
            baseline.mkdir(exist_ok=True)
            write_config(baseline, baseline_config(config))
        train_run(baseline, read_config(baseline), say)


def evaluate_run(directory: Path, config: Config) -> Tested:
    """Tests the best parameters of a run and writes ``evaluation.json``; under another name where the run was trained for others.

    Args:
      directory: where the run is written.
      config: its options, of which those of the testing may have changed.
    """
    recipe = build(config)
    evaluation = evaluated(config, recipe, recipe.learner, best_params(directory, recipe.state))
    references = {
        name: Measured(
            None if reference.learner is None else evaluated(config, recipe, reference.learner, ()).after_steps[0],
            reference.expected,
        )
        for name, reference in FEW_SHOT_PROBLEMS[config.problem_name].references(config).items()
    }
    return Tested(config, evaluation, references, write_evaluation(directory, config, evaluation, references))


def is_complete(directory: Path, config: Config) -> bool:
    """Says whether a run, and its baseline if it has one, has been trained and tested."""
    trained = last_step(directory) >= config.training.steps and evaluation_path(directory, config).is_file()
    if not trained or not config.baseline:
        return trained
    baseline = directory / BASELINE
    return (baseline / CONFIG).is_file() and is_complete(baseline, read_config(baseline))


def last_step(directory: Path) -> int:
    """Gives the step of the newest checkpoint, 0 where there is none."""
    return max(checkpointing.steps(directory / CHECKPOINTS), default=0)


def divergence(metrics: Sequence[Mapping[str, Any]], tasks: int) -> str | None:
    """Says in one sentence where validation tasks diverged, None where none did.

    Args:
      metrics: the lines of ``metrics.jsonl``.
      tasks: how many tasks a validation has.
    """
    validated = [line for line in metrics if DIVERGED in line]
    found = [line for line in validated if line[DIVERGED]]
    if not found:
        return None
    counts = sorted({int(line[DIVERGED]) for line in found})
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return (
        f"validation diverged {len(found)} of {len(validated)} times, first at step {found[0]['step']:,}: the loss of {several} of "
        f"{tasks:,} tasks was not finite; such a step is never chosen."
    )


def course_of(config: Config) -> Course:
    """Says how a run of any kind is trained.

    Raises:
      ValueError: if an option is out of its range.
      FileNotFoundError: if the data is not there.
    """
    if is_multitask(config):
        return build_multitask(config).course
    if is_domain_pair(config):
        return build_domains(config).course
    recipe = build(config)
    validation = validation_of(config, recipe, recipe.validated)
    return Course(recipe.state, training_step(recipe), recipe.train, validation, _validation_tasks(config, recipe))


def _fit(directory: Path, config: Config, course: Course, say: Say) -> None:
    training, done = config.training, last_step(directory)
    if done >= training.steps:
        return
    start = f", from step {done:,}" if done else ""
    say(f"training {config.method_name} on {config.problem_name}: {training.steps:,} steps{start}.")
    fit(
        course.step,
        course.state,
        course.train,
        num_steps=training.steps,
        steps_per_chunk=training.steps_per_chunk,
        validation=course.validation,
        validate_every=training.validate_every,
        directory=directory,
        checkpoint_every=training.checkpoint_every,
        resume=True,
    )
    if sentence := divergence(read_metrics(directory), course.tasks):
        say(sentence)


def validation_of(config: Config, recipe: Recipe, learner: Learner) -> Callable[[Params], Mapping[str, Any]]:
    """Builds the validation of a run, or of a learner with other options."""
    batch_size, episodes = config.evaluation.evaluation_batch, _validation_tasks(config, recipe)
    return validator(learner, recipe.validation, metric=recipe.metric, episodes=episodes, batch_size=batch_size)


def _validation_tasks(config: Config, recipe: Recipe) -> int:
    wanted, size = config.training.validation_episodes, recipe.validation.size
    return wanted if size is None else min(wanted, size)


def evaluated(config: Config, recipe: Recipe, learner: Learner, params: Params) -> Evaluation:
    """Scores a learner on the test tasks of a run."""
    testing = config.evaluation
    return evaluate(
        learner,
        params,
        recipe.test,
        metric=recipe.metric,
        num_steps=None if learner.path is None else testing.evaluation_steps,
        episodes=testing.episodes,
        seed=testing.evaluation_seed,
        batch_size=testing.evaluation_batch,
    )
