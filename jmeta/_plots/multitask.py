"""Figures of several tasks: which help which, whether their gradients conflict, how they are grouped, and how methods compare."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jmeta._metrics.comparison import paired_delta_m
from jmeta._named import check_matrix
from jmeta._plots import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jmeta._estimates import Estimate
    from jmeta.multitask._grouping import Grouping

BLUE, ORANGE, *_ = figures.COLORS
GREY = "0.55"
# Red and blue, which the colour-blind can tell apart too.
DIVERGING = "RdBu"
PER_ROW = 5


def affinity_matrix(affinity: Any, names: Sequence[str]) -> Figure:
    """Draws how much, in percent, a step on one task lowers the loss of each: blue helps, red harms.

    The diagonal, how a task helps itself, is written but does not set the scale of the colours.

    Args:
      affinity: ``[tasks, tasks]`` from :func:`jmeta.task_affinity`, as a rule a mean over training; NaN stays empty.
      names: of the tasks, in the order of the rows.

    Raises:
      ValueError: if the matrix has not one row and one column per name.
    """
    values = 100 * check_matrix("affinity", affinity, names)
    others = np.where(np.eye(len(names), dtype=bool), np.nan, values)
    scale = np.nanmax(np.abs(others), initial=0) or 1.0
    side = 2.6 + 0.75 * len(names)
    figure, (axes,) = figures.panels(1, 1, (side + 1.2, side))
    image = axes.imshow(others, cmap=DIVERGING, vmin=-scale, vmax=scale)
    axes.set_facecolor("0.9")
    for row, column in itertools.product(range(len(names)), repeat=2):
        if np.isfinite(value := values[row, column]):
            color = "white" if row != column and abs(value) > 0.6 * scale else "black"
            axes.text(column, row, f"{value:.2g}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("task whose loss is lowered")
    axes.set_ylabel("task of the step")
    figure.colorbar(image, ax=axes, label="affinity (% of the loss)", shrink=0.8)
    return figure


def cosine_history(metrics: Sequence[Mapping[str, Any]], names: Sequence[str], *, metric: str) -> Figure:
    """Draws the cosine of each pair of task gradients over a training, those that conflict most first: red is below 0.

    Each line of metrics is a column as wide as the steps that it is the mean of.

    Args:
      metrics: the lines of ``metrics.jsonl``, each a ``step`` and a matrix ``[tasks, tasks]`` from :func:`jmeta.gradient_cosines`;
        None, NaN, and lines without it, stay empty.
      names: of the tasks, in the order of the rows, at least two.
      metric: the name of the measurement.

    Raises:
      ValueError: if there is no line with it, no pair of tasks, or the matrices have not one row and one column per name.
    """
    pairs = [*itertools.combinations(range(len(names)), 2)]
    if not pairs or not any(metric in line for line in metrics):
        raise ValueError(
            f"metrics must hold a line with {metric!r} of at least two tasks; got {len(metrics)} lines and {[*names]}."
        )
    missing = np.full((len(names), len(names)), np.nan)
    table = np.stack([check_matrix(metric, line.get(metric, missing), names)[tuple(zip(*pairs, strict=True))] for line in metrics])
    known = np.isfinite(table)
    means = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    order = np.argsort(means, kind="stable")
    figure, (axes,) = figures.panels(1, 1, (8.4, 1.9 + 0.3 * len(pairs)))
    from matplotlib.ticker import MaxNLocator

    edges = [0, *(line["step"] for line in metrics)]
    mesh = axes.pcolormesh(edges, np.arange(len(pairs) + 1) - 0.5, table.T[order], cmap=DIVERGING, vmin=-1, vmax=1)
    axes.set_facecolor("0.7")
    axes.set_yticks(range(len(pairs)), [f"{names[one]} – {names[other]}" for one, other in (pairs[at] for at in order)])
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("training steps")
    axes.set_ylabel("pair of tasks")
    figure.colorbar(mesh, ax=axes, label="cosine of the gradients")
    return figure


def task_groups(grouping: Grouping) -> Figure:
    """Draws which tasks are trained in which network: a full mark where a task is taken from it, an open one where it only helps.

    Beside each full mark stands the mean affinity, in percent, of the other tasks of that network onto the task.

    Args:
      grouping: from :func:`jmeta.group_tasks`.
    """
    names = [*grouping.served_by]
    figure, (axes,) = figures.panels(1, 1, (3.2 + 1.1 * len(grouping.groups), 1.6 + 0.4 * len(names)))
    for kind, fill in (("taken from this network", BLUE), ("only helps", "none")):
        places = [
            (at, names.index(name))
            for at, group in enumerate(grouping.groups)
            for name in group
            if (grouping.served_by[name] == at) is (fill == BLUE)
        ]
        axes.scatter(*np.array(places).reshape(-1, 2).T, s=90, facecolors=fill, edgecolors=BLUE, linewidths=1.5, label=kind)
    for row, name in enumerate(names):
        affinity = grouping.affinity[name]
        said = f"{100 * affinity:+.2g} %" if np.isfinite(affinity) else "alone"
        axes.annotate(said, (grouping.served_by[name], row), (9, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(-0.5, len(grouping.groups) - 0.2)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(grouping.groups)), [str(at + 1) for at in range(len(grouping.groups))])
    axes.set_yticks(range(len(names)), names)
    figures.label(axes, "network", "task (affinity onto it)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def method_comparison(
    scores: Mapping[str, Mapping[Any, Mapping[str, float]]], *, baseline: str, higher_is_better: Mapping[str, bool]
) -> Figure:
    """Draws how methods compare with a baseline: delta m of each with its interval, the best first, and then metric by metric.

    Below 0, to the left and blue, a method is better than the baseline.

    Args:
      scores: by method and seed, metric by name.
      baseline: the method that the others are compared with, as a rule independent networks.
      higher_is_better: by metric, whether a higher value is better.

    Raises:
      ValueError: if the baseline is no method, there is no other, or as :func:`jmeta.paired_delta_m`.
    """
    others = [name for name in scores if name != baseline]
    if baseline not in scores or not others:
        raise ValueError(f"baseline must be one of at least two methods, {[*scores]}; got {baseline!r}.")

    def against(method: str, kinds: Mapping[str, bool]) -> Estimate:
        ours, theirs = (
            {seed: {kind: row[kind] for kind in kinds} for seed, row in scores[name].items()} for name in (method, baseline)
        )
        return paired_delta_m(ours, theirs, higher_is_better=kinds)

    of_all = {name: against(name, higher_is_better) for name in others}
    names = sorted(others, key=lambda name: of_all[name].mean)
    columns = min(1 + len(higher_is_better), PER_ROW)
    rows = -(-(1 + len(higher_is_better)) // columns)
    figure, panels = figures.panels(rows, columns, (2.5, 1.5 + 0.32 * len(names)))
    _draw_changes(panels[0], [of_all[name] for name in names], names, marked=True)
    panels[0].set_title("all metrics, Δm", fontsize=10)
    for at, (kind, higher) in enumerate(higher_is_better.items(), start=1):
        _draw_changes(
            panels[at], [against(name, {kind: higher}) for name in names], names if at % columns == 0 else [], marked=False
        )
        panels[at].set_title(f"{figures.words(kind)} {'↑' if higher else '↓'}", fontsize=10)
    for axes in panels[1 + len(higher_is_better) :]:
        axes.set_visible(False)
    figure.supylabel("method", fontsize=10)
    figure.supxlabel(f"change from {figures.words(baseline)} (%), below 0 is better", fontsize=10)
    return figure


def _draw_changes(axes: Axes, changes: Sequence[Estimate], names: Sequence[str], *, marked: bool) -> None:
    means, half_widths = np.array(changes, float).T
    places, colors = np.arange(len(means)), [BLUE if mean < 0 else ORANGE for mean in means]
    if marked:
        axes.scatter(means, places, color=colors, s=30, zorder=3)
    else:
        axes.barh(places, means, color=colors, height=0.65, alpha=0.75)
    axes.errorbar(means, places, xerr=half_widths, fmt="none", ecolor="0.15", elinewidth=1.2, capsize=2.5)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_ylim(len(means) - 0.4, -0.6)
    axes.set_yticks(places, [figures.words(name) for name in names] or [""] * len(means))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=4)
