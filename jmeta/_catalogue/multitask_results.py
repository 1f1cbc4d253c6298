"""The test of a multi-task run, and the file that it writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jmeta
from jmeta._catalogue.config import write_json
from jmeta._catalogue.multitask_recipes import MultitaskRecipe, build_multitask
from jmeta._catalogue.options import Config
from jmeta._catalogue.recipes import best_params
from jmeta._catalogue.results import evaluation_path, finite
from jmeta._catalogue.rows import tasks_of
from jmeta._catalogue.tables import MULTITASK_PROBLEMS
from jmeta._estimates import Estimate
from jmeta._metrics.bootstrap import Predictions, measure
from jmeta._rows import count_rows, counts_of
from jmeta._types import Batch, Params
from jmeta.multitask._evaluation import evaluate_tasks, task_validator
from jmeta.multitask._multitask import by_task

# Batches of training examples that the best constant outputs are computed of.
BATCHES = 20
Scores = Mapping[str, Mapping[str, Estimate]]


class MultitaskTested(NamedTuple):
    """A run, how it and the best constant outputs did on the test examples by task and metric, and the file that says so.

    Attributes:
      config: the options of the run.
      scores: of the run.
      constant: of outputs that ignore the input.
      counts: of test examples by task.
      path: of the file.
    """

    config: Config
    scores: Scores
    constant: Scores
    counts: Mapping[str, int]
    path: Path


def evaluate_multitask_run(directory: Path, config: Config) -> MultitaskTested:
    """Tests the best parameters of a run and writes ``evaluation.json``; under another name where it was trained for others.

    Args:
      directory: where the run is written.
      config: its options, of which those of the testing may have changed.
    """
    recipe = build_multitask(config)
    test = by_task(recipe.model.names, recipe.splits.test)
    scores = scores_of(config, recipe, best_params(directory, recipe.course.state))
    constant = _constant_scores(config, recipe, test)
    counts = {name: count_rows(batch.x) for name, batch in test.items()}
    path = evaluation_path(directory, config)
    found = {
        "method": config.method_name,
        "problem": config.problem_name,
        "combining": config.training.combining,
        "seed": config.evaluation.evaluation_seed,
        "examples": counts,
        "scores": _written(scores),
        "constant": _written(constant),
        "jmeta": jmeta.__version__,
    }
    write_json(path, finite(found))
    return MultitaskTested(config, scores, constant, counts, path)


def scores_of(config: Config, recipe: MultitaskRecipe, params: Params) -> Scores:
    """Scores parameters on the test examples, by task and metric."""
    return evaluate_tasks(
        recipe.model, params, recipe.splits.test, _metrics(recipe), batch_size=config.evaluation.evaluation_batch, **_drawn(config)
    )


def loss_of_test(config: Config, recipe: MultitaskRecipe, params: Params) -> float:
    """Gives the mean of the losses of the tasks on the test examples."""
    tasks, size = tasks_of(recipe.setting), config.evaluation.evaluation_batch
    validate = task_validator(recipe.model, tasks, recipe.splits.test, batch_size=size)
    return float(validate(params)["loss"])


def _metrics(recipe: MultitaskRecipe) -> dict[str, Any]:
    scale = recipe.splits.targets
    found = {}
    for name, target in recipe.setting.targets.items():
        deviation = None if scale is None else scale.deviation
        found[name] = target.metrics(deviation[name] if isinstance(deviation, Mapping) else deviation)
    return found


def _drawn(config: Config) -> dict[str, int]:
    return {"resamples": MULTITASK_PROBLEMS[config.problem_name].resamples, "seed": config.evaluation.evaluation_seed}


def _constant_scores(config: Config, recipe: MultitaskRecipe, test: Mapping[str, Batch]) -> Scores:
    train = recipe.splits.train
    drawn = jax.jit(jax.vmap(train.sample, (None, 0)))(train.data, jax.random.split(jax.random.key(0), BATCHES))
    drawn = jax.device_get(jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), drawn))
    known = by_task(recipe.model.names, drawn)
    metrics, found = _metrics(recipe), {}
    for name, batch in test.items():
        part = known[name]
        weights = counts_of(part)
        outputs = recipe.setting.targets[name].constant(part.y, None if weights is None else np.asarray(weights))
        outputs = np.broadcast_to(outputs, (count_rows(batch.x), *outputs.shape))
        predictions = Predictions(outputs, jax.device_get(batch.y), jax.device_get(counts_of(batch)))
        found[name] = measure(predictions, metrics[name], **_drawn(config) | {"resamples": 2})
    return found


def _written(scores: Scores) -> dict[str, Any]:
    return {name: {metric: one._asdict() for metric, one in found.items()} for name, found in scores.items()}
