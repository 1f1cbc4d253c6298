"""Runs in directories: training, the pretrained baseline beside it, and testing."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmeta import checkpointing
from jmeta._cli.baseline import BASELINE, baseline_config, fine_tuning_rate
from jmeta._cli.config import CONFIG, write_config, write_json
from jmeta._cli.options import Config
from jmeta._cli.recipes import Recipe, best_params, build, read_config, training_step
from jmeta._reporting import CHECKPOINTS
from jmeta.evaluation import Estimate, Evaluation, evaluate, validator
from jmeta.training import fit

EVALUATION = "evaluation.json"

Say = Callable[[str], None]


class Tested(NamedTuple):
    """A run and how it did on test tasks."""

    config: Config
    recipe: Recipe
    evaluation: Evaluation


class Scores(NamedTuple):
    """What ``evaluation.json`` holds of an ``Evaluation``."""

    metric: str
    after_steps: tuple[Estimate, ...]


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
    recipe = build(config)
    _fit(directory, config, recipe, say)
    if config.learner_name == "pretraining" and config.learner.fine_tuning_rate is None:
        rate = fine_tuning_rate(config, recipe.validation, best_params(directory, recipe.state))
        say(f"its step size of fine-tuning, chosen on validation tasks: {rate:g}.")
        write_config(directory, dataclasses.replace(config, learner=dataclasses.replace(config.learner, fine_tuning_rate=rate)))
    if config.baseline:
        baseline = directory / BASELINE
        if not (baseline / CONFIG).is_file():
            baseline.mkdir(exist_ok=True)
            write_config(baseline, baseline_config(config))
        train_run(baseline, read_config(baseline), say)


def evaluate_run(directory: Path, config: Config) -> Tested:
    """Tests the best parameters of a run and writes ``evaluation.json``."""
    recipe, testing = build(config), config.evaluation
    learner, params = recipe.tested, best_params(directory, recipe.state)
    # A task that diverges gives an infinite error, which the estimate says as it is.
    with np.errstate(invalid="ignore", over="ignore"):
        evaluation = evaluate(
            learner,
            params,
            recipe.test,
            metric=recipe.metric,
            num_steps=None if learner.path is None else testing.evaluation_steps,
            episodes=testing.episodes,
            seed=testing.evaluation_seed,
            batch_size=testing.evaluation_batch,
        )
    write_json(directory / EVALUATION, _as_json(evaluation))
    return Tested(config, recipe, evaluation)


def read_evaluation(directory: Path) -> Scores | None:
    """Reads ``evaluation.json``, None where there is none.

    Raises:
      ValueError: if it is damaged, naming the file.
    """
    path = directory / EVALUATION
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        numbers = [[estimate["mean"], estimate["half_width"]] for estimate in found["after_steps"].values()]
        estimates = (Estimate(*(math.nan if number is None else float(number) for number in pair)) for pair in numbers)
        return Scores(found["metric"], tuple(estimates))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"file {path} is damaged ({error!r}); write it again with jmeta evaluate {directory}.") from error


def is_complete(directory: Path, config: Config) -> bool:
    """Says whether a run, and its baseline if it has one, has been trained and tested."""
    trained = last_step(directory) >= config.training.steps and (directory / EVALUATION).is_file()
    if not trained or not config.baseline:
        return trained
    baseline = directory / BASELINE
    return (baseline / CONFIG).is_file() and is_complete(baseline, read_config(baseline))


def last_step(directory: Path) -> int:
    """Gives the step of the newest checkpoint, 0 where there is none."""
    return max(checkpointing.steps(directory / CHECKPOINTS), default=0)


def _fit(directory: Path, config: Config, recipe: Recipe, say: Say) -> None:
    training, found = config.training, checkpointing.steps(directory / CHECKPOINTS)
    if found and found[-1] >= training.steps:
        return
    start = f", from step {found[-1]:,}" if found and found[-1] else ""
    say(f"training {config.learner_name} on {config.tasks_name}: {training.steps:,} steps{start}.")
    fit(
        training_step(recipe),
        recipe.state,
        recipe.train,
        num_steps=training.steps,
        steps_per_chunk=training.steps_per_chunk,
        validation=validator(
            recipe.validated,
            recipe.validation,
            metric=recipe.metric,
            episodes=training.validation_episodes,
            batch_size=config.evaluation.evaluation_batch,
        ),
        validate_every=training.validate_every,
        directory=directory,
        checkpoint_every=training.checkpoint_every,
        resume=bool(found),
    )


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Keeps what two runs of the same seed share; null stands for a number that is not finite."""
    after_steps = {
        str(step): {name: value if math.isfinite(value) else None for name, value in estimate._asdict().items()}
        for step, estimate in enumerate(evaluation.after_steps)
    }
    return {
        "metric": evaluation.metric,
        "episodes": len(evaluation.values),
        "after_steps": after_steps,
        "normalization": evaluation.normalization,
        "transductive": evaluation.transductive,
    }
