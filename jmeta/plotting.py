"""Figures of training, of adapting, of several tasks and of methods. They need the extra ``plot``; no global state is touched."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._plots import figures
from jmeta._plots.domains import choice_of_step
from jmeta._plots.multitask import affinity_matrix, cosine_history, method_comparison, task_groups
from jmeta._plots.unified import step_sizes, task_embeddings
from jmeta._types import Batch, Episode, Learner, Params
from jmeta.evaluation import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "adaptation_curve",
    "affinity_matrix",
    "choice_of_step",
    "cosine_history",
    "method_comparison",
    "regression_tasks",
    "step_sizes",
    "sweep_curve",
    "task_embeddings",
    "task_groups",
    "training_curve",
]

BLUE, ORANGE, RED, GREY = "tab:blue", "tab:orange", "tab:red", "0.55"
COLORS = (BLUE, ORANGE, *(f"tab:{name}" for name in ("green", "red", "purple", "brown", "pink", "olive", "cyan")))
COLUMNS = 3
DIVERGED = "validation/diverged"


class Evaluated(Protocol):
    """What :func:`adaptation_curve` draws; an ``Evaluation`` is one."""

    @property
    def metric(self) -> str:
        """The name of the metric."""
        ...

    @property
    def steps(self) -> Sequence[int | None]:
        """The numbers of adaptation steps that were scored; None where adapting is not iterative."""
        ...

    @property
    def after_steps(self) -> Sequence[Estimate]:
        """The estimate after each of these numbers of steps."""
        ...


def training_curve(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws every metric of a training against the step, in training and in validation.

    What is measured of each of several tasks, ``task/metric``, is one panel for all of them, in which validation is dashed.
    Where validation tasks diverged, a mark on the step says so. Lists, such as the matrix of a measurement, are left out.

    Args:
      metrics: the lines of ``metrics.jsonl``: each a ``step`` with what was measured there; the names of what was measured on
        validation tasks begin with ``validation/``.

    Raises:
      ValueError: if there is no line with a number.
    """
    metrics = [{name: value for name, value in line.items() if not isinstance(value, list)} for line in metrics]
    names = dict.fromkeys(name.removeprefix("validation/") for line in metrics for name in line if name not in ("step", DIVERGED))
    if not names:
        raise ValueError(f"metrics must hold at least one line with a number; got {len(metrics)} lines without.")
    diverged = [line["step"] for line in metrics if line.get(DIVERGED)]
    # A regression's metric is its loss.
    kinds = [
        kind for kind in names if kind == "loss" or _points(metrics, kind) or _values(metrics, kind) != _values(metrics, "loss")
    ]
    panels: dict[str, list[str]] = {}
    for kind in kinds:
        panels.setdefault(f"{kind.rpartition('/')[2]} of each task" if "/" in kind else kind, []).append(kind)
    columns = min(len(panels), COLUMNS)
    figure, drawn = figures.panels(-(-len(panels) // columns), columns, (6.0, 4.0))
    for axes, (title, of_panel) in zip(drawn, panels.items(), strict=False):
        if of_panel == [title]:
            _draw_metric(axes, metrics, title)
        else:
            _draw_tasks(axes, metrics, of_panel)
        if "accuracy" not in title and all(np.nanmin(line.get_ydata()) > 0 for line in axes.lines):
            _in_decades(axes)
        if diverged:
            # In axes coordinates upwards: at the lower edge, whatever the metric's range.
            where = axes.get_xaxis_transform()
            axes.plot(diverged, [0.02] * len(diverged), "x", color=RED, transform=where, label="validation diverged")
        figures.label(axes, "training steps", figures.words(title))
        if len(of_panel) <= len(COLORS):
            axes.legend()
    for axes in drawn[len(panels) :]:
        axes.set_visible(False)
    return figure


def _draw_metric(axes: Axes, metrics: Sequence[Mapping[str, Any]], kind: str) -> None:
    for name, label, color in ((kind, "training", BLUE), (f"validation/{kind}", "validation", ORANGE)):
        if points := _points(metrics, name):
            axes.plot(*zip(*points, strict=True), label=label, color=color, marker="o", markersize=2.5, linewidth=1.2)


def _draw_tasks(axes: Axes, metrics: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> None:
    for kind, color in zip(kinds, itertools.cycle(COLORS), strict=False):
        label = kind.rpartition("/")[0]
        for name, style in ((kind, "-"), (f"validation/{kind}", "--")):
            if points := _points(metrics, name):
                axes.plot(*zip(*points, strict=True), label=label, color=color, linestyle=style, linewidth=1.2)
                label = None


def _in_decades(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, Any]]:
    return [(line["step"], line[name]) for line in metrics if line.get(name) is not None]


def adaptation_curve(evaluations: Mapping[str, Evaluated], *, references: Mapping[str, float] | None = None) -> Figure:
    """Draws a metric against the adaptation steps, each at its own number of them, with its 95 % intervals.

    Where adapting is not iterative, the score is a horizontal line.

    Args:
      evaluations: by the name to show; all with one metric.
      references: scores that do not depend on the steps, by the name to show.

    Raises:
      ValueError: if there is no evaluation or they have several metrics.
    """
    kinds = {evaluated.metric for evaluated in evaluations.values()}
    if len(kinds) != 1:
        raise ValueError(f"evaluations must have one metric; got {sorted(kinds)}.")
    figure, (axes,) = figures.panels(1, 1, (6.4, 4.4))
    from matplotlib.ticker import MaxNLocator

    for (name, evaluated), color in zip(evaluations.items(), itertools.cycle(COLORS), strict=False):
        mean, half_width = np.array(evaluated.after_steps, float).T
        low, high = mean - half_width, mean + half_width
        steps = [number for number in evaluated.steps if number is not None]
        if steps:
            axes.plot(steps, mean, color=color, marker="o", markersize=4, label=name)
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        else:
            axes.axhline(mean[0], color=color, label=name)
            axes.axhspan(low[0], high[0], color=color, alpha=0.2, linewidth=0)
    for (name, value), style in zip((references or {}).items(), itertools.cycle(("--", ":", "-.")), strict=False):
        axes.axhline(value, color=GREY, linestyle=style, label=name)
    if kinds != {"accuracy"}:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.label(axes, "adaptation steps (gradient steps on the support)", f"{figures.words(*kinds)} on query examples")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def sweep_curve(values: Sequence[Mapping[str, Any]], losses: Sequence[Sequence[float | None]]) -> Figure:
    """Draws the validation losses of a sweep against each value that was tried.

    A dot is a setting with one seed, the line the lowest mean over the seeds among the settings with a value.

    Args:
      values: of each setting, as ``Sweep.values``.
      losses: ``[settings, seeds]``; None or infinite where none was finite.

    Raises:
      ValueError: if there is no setting, or not as many losses.
    """
    table = np.array([[np.inf if loss is None else loss for loss in row] for row in losses], float)
    if not values or len(values) != len(table):
        raise ValueError(f"losses must have a row for each setting, at least one; got {len(table)} for {len(values)} settings.")
    names = list(values[0])
    figure, panels = figures.panels(1, len(names), (5.0, 4.0))
    for name, axes in zip(names, panels, strict=True):
        _draw_values(axes, [setting[name] for setting in values], table)
        figures.label(axes, figures.words(name), "lowest validation loss")
    known: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        known.update(zip(labels, handles, strict=True))
    figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_values(axes: Axes, of_setting: Sequence[Any], losses: np.ndarray) -> None:
    numbers = all(isinstance(value, int | float) for value in of_setting)
    tried = sorted(set(of_setting)) if numbers else list(dict.fromkeys(of_setting))
    places = dict(zip(tried, tried if numbers else range(len(tried)), strict=True))
    best = dict.fromkeys(tried, np.inf)
    for value, row in zip(of_setting, losses, strict=True):
        best[value] = min(best[value], row.mean())
        known = row[np.isfinite(row)]
        axes.plot([places[value]] * len(known), known, "o", color=GREY, markersize=4, alpha=0.7, label="one seed of one setting")
    finite, lost = ([value for value in tried if bool(np.isfinite(best[value])) is sound] for sound in (True, False))
    line = [places[value] for value in finite], [best[value] for value in finite]
    axes.plot(*line, color=BLUE, marker="o", markersize=5, label="lowest mean over the seeds")
    if lost:
        where = axes.get_xaxis_transform()
        axes.plot([places[value] for value in lost], [0.02] * len(lost), "x", color=RED, transform=where, label="diverged")
    axes.margins(x=0.1)
    if numbers and tried[0] > 0 and tried[-1] >= 8 * tried[0]:
        axes.set_xscale("log")
    axes.set_xticks(list(places.values()), [f"{value:g}" if numbers else str(value) for value in tried])
    axes.minorticks_off()


def regression_tasks(learner: Learner, params: Params, episodes: Episode, *, num_steps: int) -> Figure:
    """Draws a page of one-dimensional regression tasks: the curve before and after adapting.

    Args:
      learner: a learner with a path.
      params: its parameters.
      episodes: leaves ``[tasks, n, 1]``; the queries show the truth.
      num_steps: adaptation steps.

    Raises:
      ValueError: if the learner's adaptation is not iterative.
    """
    if learner.path is None:
        raise ValueError("learner must have a path, to draw before and after adapting; got one without.")
    tasks = len(episodes.query.y)
    figure, panels = figures.panels(-(-tasks // COLUMNS), min(tasks, COLUMNS), (3.6, 2.6), share=True)
    x = jnp.linspace(episodes.query.x.min(), episodes.query.x.max(), 200)[:, None]
    before, after = _before_and_after(learner, params, episodes, x, num_steps)
    for task, axes in enumerate(panels[:tasks]):
        support, query = jax.tree.map(lambda leaf, task=task: leaf[task], (episodes.support, episodes.query))
        order = np.argsort(np.asarray(query.x[:, 0]))
        axes.plot(query.x[order, 0], query.y[order, 0], color=GREY, linewidth=3, alpha=0.6, label="truth")
        axes.plot(x, before[task], color=ORANGE, linestyle=":", label="before adapting")
        axes.plot(x, after[task], color=BLUE, label=f"after {num_steps} steps")
        axes.plot(support.x, support.y, color="black", linestyle="", marker="^", markersize=6, label="support")
        axes.grid(alpha=0.3)
    figure.supxlabel("x")
    figure.supylabel("y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _before_and_after(
    learner: Learner, params: Params, episodes: Episode, x: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def curves(params: Params, support: Batch) -> tuple[jax.Array, jax.Array]:
        path = learner.path(params, jax.random.key(0), support, num_steps) if learner.path else None
        first, last = (jax.tree.map(lambda leaf, at=at: leaf[at], path) for at in (0, -1))
        return learner.predict(params, first, x), learner.predict(params, last, x)

    return curves(params, episodes.support)


def _values(metrics: Sequence[Mapping[str, Any]], kind: str) -> list[Any]:
    return [line.get(f"validation/{kind}") for line in metrics]
