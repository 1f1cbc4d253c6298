"""The plots of a run, as files beside what they are drawn of."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jmeta._catalogue.baseline import BASELINE
from jmeta._catalogue.domain_results import SCORES
from jmeta._catalogue.options import Config
from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.recipes import Recipe, best_params, build, setting_of
from jmeta._catalogue.results import Scores, evaluation_path, read_evaluation, suffix_of
from jmeta._catalogue.rows import REGRESSION
from jmeta._catalogue.runs import last_step
from jmeta._catalogue.sweeps import read_plan
from jmeta._catalogue.tables import FEW_SHOT_PROBLEMS, is_domain_pair
from jmeta._reporting import read_metrics
from jmeta._types import Episode
from jmeta.tasks._batching import batch_tasks

PAGE = 9


def draw(directory: Path, config: Config) -> list[Path]:
    """Draws the plots that the files of a run allow, and gives their paths.

    Args:
      directory: where the run is written.
      config: its options; where those of the testing are not its own, the plots of the test have other names, as its file has.

    Raises:
      ImportError: if matplotlib is not there.
    """
    from jmeta import plotting

    figures, suffix = {}, suffix_of(directory, config)
    metrics, few_shot = read_metrics(directory), config.problem_name in FEW_SHOT_PROBLEMS
    if metrics and is_domain_pair(config):
        figures |= _of_domains(config, metrics)
    elif metrics:
        figures["training"] = plotting.training_curve(metrics)
    if few_shot and (evaluations := _evaluations(directory, config)):
        known = {name: one for scores in evaluations.values() for name, one in scores.references.items()}
        numbers = {name: one.expected if one.estimate is None else one.estimate.mean for name, one in known.items()}
        references = {name: number for name, number in numbers.items() if number is not None}
        figures[f"adaptation{suffix}"] = plotting.adaptation_curve(evaluations, references=references)
    if few_shot and config.evaluation.evaluation_steps and last_step(directory):
        recipe, num_steps = build(config), config.evaluation.evaluation_steps
        if setting_of(config).kind == REGRESSION and (episodes := _page(recipe, config)) is not None:
            params = best_params(directory, recipe.state)
            figures[f"tasks{suffix}"] = plotting.regression_tasks(recipe.learner, params, episodes, num_steps=num_steps)
    if (plan := read_plan(directory)) is not None and plan.rows:
        figures["sweep"] = plotting.sweep_curve([row["values"] for row in plan.rows], [row["losses"] for row in plan.rows])
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png")
    return [directory / f"{name}.png" for name in figures]


def _of_domains(config: Config, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draws the training, and the scores in both domains, which are of other examples and in part for looking only."""
    from jmeta import plotting

    training = [
        {name.removeprefix("alignment/"): value for name, value in line.items() if not name.startswith("validation/")}
        for line in metrics
    ]
    found = {"training": plotting.training_curve(training)}
    if lines := [line for line in metrics if "validation/loss" in line]:

        def column(name: str) -> list[float]:
            return [math.nan if line[f"validation/{name}"] is None else line[f"validation/{name}"] for line in lines]

        accuracies = {name: column(f"{name}_accuracy") for name in ("source", "target")}
        scores = {words: column(name) for name, words in SCORES.items()}
        steps = [line["step"] for line in lines]
        found["choice"] = plotting.choice_of_step(steps, accuracies, scores, chosen_by=SCORES[config.training.choose_by])
    return found


def _evaluations(directory: Path, config: Config) -> dict[str, Scores]:
    """Reads the scores of a run and of its baseline, where one of them has several numbers of steps to draw."""
    runs = {config.method_name: directory} | ({PRETRAINING: directory / BASELINE} if config.baseline else {})
    found = {name: read_evaluation(evaluation_path(run, config)) for name, run in runs.items()}
    scores = {name: one for name, one in found.items() if one is not None}
    return scores if any(len(one.steps) > 1 for one in scores.values()) else {}


def _page(recipe: Recipe, config: Config) -> Episode | None:
    """Draws a page of test tasks, where each is one curve over one number."""
    episodes = batch_tasks(recipe.test, PAGE).sample(recipe.test.data, jax.random.key(config.evaluation.evaluation_seed))
    query = episodes.query
    curves = query.mask is None and episodes.classes is None and query.x.shape[2:] == query.y.shape[2:] == (1,)
    return episodes if curves else None
