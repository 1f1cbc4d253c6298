"""Figures of unified multi-task learning: embeddings of tasks, what they attend to, and the step sizes that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jmeta._named import check_matrix
from jmeta._plots import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def task_embeddings(embeddings: Any, names: Sequence[str], *, attention: Any = None) -> Figure:
    """Draws embeddings of tasks on their two principal axes, those of one name in one colour.

    Args:
      embeddings: ``[tasks, d]``.
      names: what each task is, ``[tasks]``: its mode, or its own name.
      attention: ``[tasks, tasks]`` from :func:`jmeta.attention_between_tasks`, drawn beside them.

    Raises:
      ValueError: if there are not two tasks at least, or not one name for each, or attention is of another size.
    """
    vectors = np.asarray(embeddings, np.float64)
    if vectors.ndim != 2 or len(vectors) < 2 or len(vectors) != len(names):
        raise ValueError(
            f"embeddings must be [tasks, d] of two tasks at least, with a name each; got {vectors.shape} and {len(names)} names."
        )
    kinds = list(dict.fromkeys(names))
    figure, panels = figures.panels(1, 1 if attention is None else 2, (4.6, 3.8))
    _draw_points(panels[0], vectors, names, kinds)
    if attention is not None:
        _draw_attention(panels[1], check_matrix("attention", attention, names), names)
    return figure


def _draw_points(axes: Axes, vectors: np.ndarray, names: Sequence[str], kinds: Sequence[str]) -> None:
    centred = vectors - vectors.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[: min(2, len(directions))]
    points = np.zeros((len(vectors), 2))
    points[:, : len(directions)] = centred @ directions.T
    total = max(float(np.square(sizes).sum()), np.finfo(float).tiny)
    shares = [float(100 * np.square(size) / total) for size in sizes[:2]] + [0.0, 0.0]
    for at, kind in enumerate(kinds):
        of_kind = points[[name == kind for name in names]]
        axes.scatter(*of_kind.T, s=18, alpha=0.8, color=figures.COLORS[at % len(figures.COLORS)], label=kind, linewidths=0)
    figures.label(axes, f"first axis ({shares[0]:.0f} % of the variance)", f"second axis ({shares[1]:.0f} %)")
    axes.legend(fontsize=8)


def _draw_attention(axes: Axes, attention: np.ndarray, names: Sequence[str]) -> None:
    image = axes.imshow(attention, cmap="Blues", vmin=0, vmax=max(1e-9, attention.max()))
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("task that is attended to")
    axes.set_ylabel("task that attends")
    axes.figure.colorbar(image, ax=axes, label="share", shrink=0.8)


def step_sizes(rates: Any, groups: Sequence[str], names: Sequence[str]) -> Figure:
    """Draws the step sizes of tasks, a panel for each group of parameters.

    Args:
      rates: ``[tasks, groups, steps]``, in parameter units per unit of gradient; above 0.
      groups: of parameters, by name.
      names: what each task is; those of one name are drawn as their geometric mean, with the range of the tasks.

    Raises:
      ValueError: if there is not one name for each task and group, or a step size is not positive.
    """
    values = np.asarray(rates, np.float64)
    if values.ndim != 3 or values.shape[:2] != (len(names), len(groups)):
        raise ValueError(
            f"rates must be [tasks, groups, steps] with a name for each task and group; got {values.shape}, {len(names)} names of "
            f"tasks and {len(groups)} of groups."
        )
    if not (values > 0).all():
        raise ValueError(f"rates must be positive to be drawn in decades; got {values.min()}.")
    kinds, steps = list(dict.fromkeys(names)), np.arange(1, values.shape[2] + 1)
    columns = min(3, len(groups))
    figure, panels = figures.panels(-(-len(groups) // columns), columns, (3.6, 2.8), share=True)
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for number, (axes, group) in enumerate(zip(panels, groups, strict=False)):
        for at, kind in enumerate(kinds):
            of_kind = values[[name == kind for name in names], number]
            color = figures.COLORS[at % len(figures.COLORS)]
            axes.plot(steps, np.exp(np.log(of_kind).mean(axis=0)), color=color, marker="o", markersize=3, label=kind)
            axes.fill_between(steps, of_kind.min(axis=0), of_kind.max(axis=0), color=color, alpha=0.15, linewidth=0)
        axes.set_yscale("log")
        axes.set_xticks(steps)
        axes.tick_params(labelbottom=True)
        axes.set_title(group, fontsize=9)
        figures.label(axes, "step", "step size" if number % columns == 0 else "")
    panels[0].legend(fontsize=8)
    return figure
