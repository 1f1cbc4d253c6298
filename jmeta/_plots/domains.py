"""Figures of two domains: how a training did in both of them, and what may choose between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jmeta._plots import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, *_ = figures.COLORS


def choice_of_step(
    steps: Sequence[int],
    accuracies: Mapping[str, Sequence[float]],
    scores: Mapping[str, Sequence[float]],
    *,
    chosen_by: str,
) -> Figure:
    """Draws accuracies over the steps of a training and, beside them, scores that need no target labels, each marked at its least.

    A line through both says which step was chosen.

    Args:
      steps: of the validations.
      accuracies: by the name of the domain, shares, ``[steps]``.
      scores: by name, of which less is better, ``[steps]``, in nats.
      chosen_by: the name of the score that chose.

    Raises:
      ValueError: if there is no step, not one number for each, or ``chosen_by`` is no score.
    """
    rows = {**accuracies, **scores}
    if not len(steps) or any(len(row) != len(steps) for row in rows.values()):
        found = {name: len(row) for name, row in rows.items()}
        raise ValueError(f"accuracies and scores must be one number for each of one step at least; got {found} for {len(steps)}.")
    if chosen_by not in scores:
        raise ValueError(f"chosen_by must be one of {', '.join(scores)}; got {chosen_by!r}.")
    figure, (left, right) = figures.panels(1, 2, (5.4, 4.0))
    for at, (name, row) in enumerate(accuracies.items()):
        left.plot(steps, 100 * np.asarray(row, float), marker="o", markersize=3, color=figures.COLORS[at], label=name)
    for at, (name, row) in enumerate(scores.items()):
        values, color = np.asarray(row, float), figures.COLORS[2 + at]
        right.plot(steps, values, color=color, label=name)
        least = _least(values)
        right.plot(steps[least], values[least], marker="*", markersize=12, color=color)
    chosen = steps[_least(np.asarray(scores[chosen_by], float))]
    for axes in (left, right):
        axes.axvline(chosen, color="0.55", linestyle=":", label=f"chosen by {chosen_by}")
        axes.legend(fontsize=8)
    figures.label(left, "training steps", "accuracy (%)")
    figures.label(right, "training steps", "score (nats)")
    return figure


def _least(values: Any) -> int:
    return int(np.where(np.isfinite(values), values, np.inf).argmin())
