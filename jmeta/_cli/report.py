"""What a run says of itself: tables as lines of text."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.results import Measured
from jmeta._catalogue.runs import Tested
from jmeta._catalogue.sweeps import Plan, test_of_seeds
from jmeta._estimates import Estimate, estimate
from jmeta.evaluation import Evaluation, paired_difference

# Table 2 of Finn, Abbeel and Levine (2017): 5 shots, after 1, 5 and 10 gradient steps.
PAPER_SHOTS = 5
PAPER = {"maml": ("0.67", "0.38", "0.35"), PRETRAINING: ("2.41", "2.23", "2.19")}
PAPER_STEPS = (1, 5, 10)
PERCENT = ("accuracy", "pixel accuracy", "mean IoU")


def table(tested: Tested, baseline: Tested | None) -> str:
    """Writes the scores of a run, beside those of its baseline and of predictions that ignore the task."""
    evaluation = tested.evaluation
    steps = _shown(evaluation.steps)
    head = [f"mean {evaluation.metric.replace('_', ' ')}, {len(evaluation.values):,} test tasks"]
    rows = [head + [_words(step) for step in steps], *_rows(tested, steps)]
    if baseline is not None:
        rows += _rows(baseline, steps)
        with np.errstate(invalid="ignore"):
            difference = paired_difference(evaluation, baseline.evaluation)
        cells = [cell(difference[step], evaluation.metric) if step in difference else "" for step in steps]
        rows.append([f"{tested.config.method_name} - {PRETRAINING}, paired", *cells])
    rows += _reference_rows(tested.references, evaluation.metric, len(steps))
    return "\n".join([aligned(rows), "", *(_sentence(run) for run in (tested, baseline) if run is not None)])


def sweep_table(plan: Plan) -> str:
    """Writes the validation losses of a sweep, and how the chosen setting did in the test with each seed."""
    rows = [[*plan.values, f"validation loss, {plan.seeds} seeds" if plan.seeds > 1 else "validation loss", "best steps", ""]]
    for index, row in enumerate(plan.rows):
        losses = row["losses"]
        mean = "diverges" if None in losses else cell(_over_seeds(losses), "")
        steps = "" if None in losses else ", ".join(f"{step:,}" for step in row["steps"])
        rows.append([*map(str, row["values"].values()), mean, steps, "chosen" if index == plan.chosen else ""])
    found = test_of_seeds(plan)
    words = plan.metric.replace("_", " ")
    over = "" if found is None else f"\nmean {words} in the test, over {plan.seeds} seeds: {cell(found, plan.metric)}"
    return aligned(rows) + over


def _over_seeds(values: Sequence[float]) -> Estimate:
    return estimate(values) if len(values) > 1 else Estimate(values[0], math.nan)


def _shown(steps: Sequence[int | None]) -> list[int | None]:
    """Chooses 0, those of the paper, and the last."""
    shown = [step for step in steps if step is None or step in (0, *PAPER_STEPS)]
    return shown if steps[-1] in shown else [*shown, steps[-1]]


def _words(step: int | None) -> str:
    return "" if step is None else "1 step" if step == 1 else f"{step} steps"


def _rows(tested: Tested, steps: Sequence[int | None]) -> list[list[str]]:
    name, config, evaluation = tested.config.method_name, tested.config, tested.evaluation
    label = f"{name} (step size {config.method.fine_tuning_rate:g})" if name == PRETRAINING else name
    rows = [[label, *(_score(evaluation, step) for step in steps)]]
    comparable = config.problem_name == "sinusoid" and config.test.evaluation_shots == PAPER_SHOTS
    if comparable and name in PAPER:
        published: dict[int | None, str] = dict(zip(PAPER_STEPS, PAPER[name], strict=True))
        rows.append(["  the paper's", *(published.get(step, "") for step in steps)])
    return rows


def _score(evaluation: Evaluation, step: int | None) -> str:
    if step not in evaluation.steps:
        return ""
    at = evaluation.steps.index(step)
    if count := evaluation.diverged[at]:
        return f"{count:,} of {len(evaluation.values):,} diverge"
    return cell(evaluation.after_steps[at], evaluation.metric)


def _reference_rows(references: Mapping[str, Measured], metric: str, columns: int) -> list[list[str]]:
    rows = []
    for name, (found, expected) in references.items():
        if found is None and expected is not None:
            rows.append([name, *[number(expected, metric)] * columns])
        elif found is not None:
            label = name if expected is None else f"{name} (expected {number(expected, metric)})"
            rows.append([label, *[cell(found, metric)] * columns])
    return rows


def _sentence(tested: Tested) -> str:
    evaluation, test = tested.evaluation, tested.config.test
    queries = "all other" if test.evaluation_queries is None else test.evaluation_queries
    ways = f"{evaluation.sizes['ways']} ways, " if "ways" in evaluation.sizes else ""
    kind = "transductive" if evaluation.transductive else "not transductive"
    return (
        f"{tested.config.method_name}: {ways}{test.evaluation_shots} shots, {queries} queries; normalisation "
        f"{evaluation.normalization}, {kind}; {evaluation.milliseconds_per_episode:.2f} ms per task."
    )


def cell(found: Estimate, metric: str) -> str:
    """Writes an estimate in the unit of a metric."""
    if not math.isfinite(found.mean):
        return "diverges"
    scale, unit = _unit(metric)
    spread = f" ± {scale * found.half_width:.2f}" if math.isfinite(found.half_width) else ""
    return f"{scale * found.mean:.2f}{spread}{unit}"


def number(value: float, metric: str) -> str:
    """Writes a number in the unit of a metric."""
    scale, unit = _unit(metric)
    return f"{scale * value:.2f}{unit}"


def _unit(metric: str) -> tuple[float, str]:
    return (100, " %") if metric in PERCENT else (1, "")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Writes rows in columns, the first of them underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
