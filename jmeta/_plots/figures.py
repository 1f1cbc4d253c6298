"""What all figures are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which the colour-blind can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def panels(rows: int, columns: int, size: tuple[float, float], *, share: bool = False) -> tuple[Figure, list[Axes]]:
    """Makes a figure of panels of a size in inches, row by row.

    Raises:
      ImportError: if matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'jmeta[plot]'.") from error
    figure = Figure(figsize=(columns * size[0], rows * size[1]), dpi=120, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False)
    return figure, list(axes.flat)


def label(axes: Axes, x: str, y: str) -> None:
    """Labels the axes, and draws a grid."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def words(metric: str) -> str:
    """Says the name of a metric in words."""
    return {"squared_error": "mean squared error"}.get(metric, metric.replace("_", " "))
