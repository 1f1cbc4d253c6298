"""What a run shows for itself: tables as lines of text, and plots as files."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jmeta._cli.baseline import BASELINE, sinusoid_references
from jmeta._cli.recipes import best_params, build, read_config
from jmeta._cli.runs import Tested, last_step, read_evaluation
from jmeta._reporting import read_metrics
from jmeta.evaluation import Estimate, evaluate, paired_difference
from jmeta.tasks._batching import batch_tasks

# Table 2 of Finn, Abbeel and Levine (2017): 5 shots, after 1, 5 and 10 gradient steps.
PAPER_SHOTS = 5
PAPER = {"maml": ("0.67", "0.38", "0.35"), "pretraining": ("2.41", "2.23", "2.19")}
PAPER_STEPS = (1, 5, 10)
PAGE = 9


def table(tested: Tested, baseline: Tested | None) -> str:
    """Writes the scores of a run, beside those of its baseline and of predictions that ignore the task."""
    config, evaluation = tested.config, tested.evaluation
    steps = [step for step in (0, *PAPER_STEPS) if step < len(evaluation.after_steps)]
    steps += [] if len(evaluation.after_steps) - 1 in steps else [len(evaluation.after_steps) - 1]
    head = [f"mean {evaluation.metric.replace('_', ' ')}, {len(evaluation.values):,} test tasks"]
    head += ["1 step" if step == 1 else f"{step} steps" for step in steps] if config.evaluation.evaluation_steps else [""]
    rows = [head, *_rows(tested, steps)]
    if baseline is not None:
        rows += _rows(baseline, steps)
        with np.errstate(invalid="ignore"):
            difference = paired_difference(evaluation, baseline.evaluation)
        rows.append([f"{config.learner_name} - pretraining, paired", *(_cell(difference[step]) for step in steps)])
    if config.tasks_name == "sinusoid":
        rows += _reference_rows(tested, len(steps))
    return "\n".join([_aligned(rows), "", *(_sentence(run) for run in (tested, baseline) if run is not None)])


def draw(directory: Path) -> list[Path]:
    """Draws the plots that the files of a run allow, and gives their paths.

    Raises:
      ImportError: if matplotlib is not there.
    """
    from jmeta import plotting

    config, figures = read_config(directory), {}
    regression, num_steps = config.tasks_name == "sinusoid", config.evaluation.evaluation_steps
    if metrics := read_metrics(directory):
        figures["training"] = plotting.training_curve(metrics)
    runs = {config.learner_name: directory} | ({"pretraining": directory / BASELINE} if config.baseline else {})
    evaluations = {name: evaluated for name, run in runs.items() if (evaluated := read_evaluation(run))}
    if any(len(evaluated.after_steps) > 1 for evaluated in evaluations.values()):
        references = {name: expected for name, (_, expected) in sinusoid_references().items()} if regression else {}
        figures["adaptation"] = plotting.adaptation_curve(evaluations, references=references)
    if regression and num_steps and last_step(directory):
        recipe = build(config)
        params = best_params(directory, recipe.state)
        episodes = batch_tasks(recipe.test, PAGE).sample(recipe.test.data, jax.random.key(config.evaluation.evaluation_seed))
        figures["tasks"] = plotting.regression_tasks(recipe.tested, params, episodes, num_steps=num_steps)
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png")
    return [directory / f"{name}.png" for name in figures]


def _rows(tested: Tested, steps: Sequence[int]) -> list[list[str]]:
    name, config, after_steps = tested.config.learner_name, tested.config, tested.evaluation.after_steps
    label = f"{name} (step size {config.learner.fine_tuning_rate:g})" if name == "pretraining" else name
    rows = [[label, *(_cell(after_steps[step], tested.evaluation.metric) for step in steps)]]
    comparable = config.tasks_name == "sinusoid" and config.test.evaluation_shots == PAPER_SHOTS
    if comparable and name in PAPER:
        published: dict[int, str] = dict(zip(PAPER_STEPS, PAPER[name], strict=True))
        rows.append(["  the paper's", *(published.get(step, "") for step in steps)])
    return rows


def _reference_rows(tested: Tested, columns: int) -> list[list[str]]:
    testing, rows = tested.config.evaluation, []
    for name, (learner, expected) in sinusoid_references().items():
        measured = evaluate(
            learner,
            (),
            tested.recipe.test,
            metric=tested.recipe.metric,
            episodes=testing.episodes,
            seed=testing.evaluation_seed,
            batch_size=testing.evaluation_batch,
        )
        rows.append([f"{name} (expected {expected:.2f})", *[_cell(measured.after_steps[0])] * columns])
    return rows


def _sentence(tested: Tested) -> str:
    evaluation, test = tested.evaluation, dataclasses.asdict(tested.config.test)
    sizes = ", ".join(f"{value} {name.removeprefix('evaluation_')}" for name, value in test.items())
    kind = "transductive" if evaluation.transductive else "not transductive"
    return (
        f"{tested.config.learner_name}: {sizes}; normalisation {evaluation.normalization}, {kind}; "
        f"{evaluation.milliseconds_per_episode:.2f} ms per task."
    )


def _cell(estimate: Estimate, metric: str = "") -> str:
    scale, unit = (100, " %") if metric == "accuracy" else (1, "")
    return f"{scale * estimate.mean:.2f} ± {scale * estimate.half_width:.2f}{unit}" if math.isfinite(estimate.mean) else "diverges"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
