"""What a multi-task run says of itself, as lines of text."""

import numpy as np

from jmeta._catalogue.multitask_results import MultitaskTested
from jmeta._cli.report import aligned, cell, number

# Of a hundred schools, the first say what the table is like, and the means of all what the run is worth.
MOST = 12


def multitask_table(tested: MultitaskTested) -> str:
    """Writes the scores of every task, beside those of the best outputs that ignore the input."""
    config, counts = tested.config, set(tested.counts.values())
    tasks = sorted(tested.scores)
    shown = tasks if len(tasks) <= MOST else tasks[:MOST]
    rows = [["task", "metric", config.method_name, "best constant"]]
    for name in shown:
        for at, (metric, score) in enumerate(tested.scores[name].items()):
            constant = number(tested.constant[name][metric].mean, metric)
            rows.append(["" if at else name, metric, cell(score, metric), constant])
    if len(shown) < len(tasks):
        rows += _means(tested)
    many = f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"
    left = f" The other {len(tasks) - len(shown)} tasks are in {tested.path}." if len(tasks) > len(shown) else ""
    return f"{aligned(rows)}\n\n{config.method_name}, {config.training.combining}: {many} test examples of each task.{left}"


def _means(tested: MultitaskTested) -> list[list[str]]:
    """Writes the mean over all tasks of each metric that all of them have."""
    metrics = [metric for metric in next(iter(tested.scores.values())) if all(metric in found for found in tested.scores.values())]
    rows = []
    for at, metric in enumerate(metrics):
        ours, constant = (
            number(float(np.mean([found[metric].mean for found in scores.values()])), metric)
            for scores in (tested.scores, tested.constant)
        )
        rows.append(["" if at else f"mean of {len(tested.scores)}", metric, ours, constant])
    return rows
