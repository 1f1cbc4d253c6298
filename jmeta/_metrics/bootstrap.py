"""Metrics of predictions, with the bootstrap's percentile intervals (Efron and Tibshirani 1993, chapters 8 and 13)."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._estimates import Estimate
from jmeta._metrics.decisions import intersections_and_unions, mean_iou, mean_iou_of
from jmeta._metrics.entries import weights_like

# Set metrics that are functions of sums over rows, which a resample only weighs anew: what is added up, and what becomes of it.
BY_SUMS: Mapping[Callable[..., Any], tuple[Callable[..., np.ndarray], Callable[[np.ndarray], float]]] = {
    mean_iou: (intersections_and_unions, mean_iou_of)
}


class Predictions(NamedTuple):
    """What was predicted for many rows, and what is true, on the host.

    Attributes:
      outputs: a pytree of leaves ``[rows, ...]``.
      targets: a pytree of leaves ``[rows, ...]``.
      weights: what each entry counts, of the first axes of the losses, ``[rows]`` at least; an entry with weight 0 is absent and
        changes nothing. None weighs all alike.
      tasks: ``[rows]`` integers, the task of each row; None where rows are independent.
    """

    outputs: Any
    targets: Any
    weights: np.ndarray | None = None
    tasks: np.ndarray | None = None


def measure(
    predictions: Predictions, metrics: Mapping[str, Callable[..., Any]], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Computes metrics of all rows, each with half the width of its central 95 % bootstrap interval.

    What is independent is drawn with replacement: whole tasks where ``predictions.tasks`` is given, rows otherwise. A resample is a
    count for each of them, which multiplies the weights, the same for all metrics. Resamples in which a metric is undefined are
    left out of its interval; where fewer than two remain, or the metric itself is undefined, the half-width is NaN. A set metric is
    computed once per resample, a row metric once.

    >>> import jmeta
    >>> predictions = Predictions(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    >>> measure(predictions, {"mean squared error": jmeta.squared_error})["mean squared error"].mean
    2.0

    Args:
      predictions: at least two tasks, or rows, with a weight above 0.
      metrics: by name. A metric with a parameter named ``weights`` is a set metric, ``(outputs, targets, weights) -> number``;
        any other is a row metric, ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``, of which the weighted mean over all
        entries is taken.
      resamples: how many.
      seed: which.

    Raises:
      ValueError: if there are fewer than two independent tasks or rows, shapes do not fit, or ``resamples`` is below 2.
    """
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2; got {resamples}.")
    predictions = jax.device_get(predictions)
    units, count = _units(predictions)
    statistics = {
        name: (_set_statistic if _takes_weights(metric) else _mean_statistic)(name, metric, predictions, units)
        for name, metric in metrics.items()
    }
    found = {name: np.empty(resamples) for name in statistics}
    random = np.random.default_rng(seed)
    for resample in range(resamples):
        counts = np.bincount(random.integers(count, size=count), minlength=count).astype(np.float64)
        for name, statistic in statistics.items():
            found[name][resample] = statistic(counts)
    return {name: _estimated(statistic(np.ones(count)), found[name]) for name, statistic in statistics.items()}


def _units(predictions: Predictions) -> tuple[np.ndarray, int]:
    """Numbers what is independent, ``[rows]``, and counts it; a wholly absent row weighs nothing, so that any number does."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves((predictions.outputs, predictions.targets))]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(f"predictions must hold outputs and targets with one row each, [rows, ...]; got shapes {shapes}.")
    rows = shapes[0][0]
    kind, tasks = ("rows", np.arange(rows)) if predictions.tasks is None else ("tasks", np.asarray(predictions.tasks))
    if tasks.shape != (rows,) or not np.issubdtype(tasks.dtype, np.integer):
        raise ValueError(
            f"predictions.tasks must be one integer for each of {rows} rows, [rows]; got {tasks.dtype} of shape {tasks.shape}."
        )
    weights = np.ones(rows) if predictions.weights is None else np.asarray(predictions.weights)
    if weights.shape[:1] != (rows,):
        raise ValueError(f"predictions.weights must have one row for each of {rows} rows; got shape {weights.shape}.")
    present = (weights_like(weights, weights.shape) > 0).any(axis=tuple(range(1, weights.ndim)))
    independent, units = np.unique(tasks[present], return_inverse=True)
    if len(independent) < 2:
        raise ValueError(
            f"predictions must hold at least two {kind} with a weight above 0, for an interval; got {len(independent)}."
        )
    numbers = np.zeros(rows, int)
    numbers[present] = units
    return numbers, len(independent)


def _takes_weights(metric: Callable[..., Any]) -> bool:
    try:
        return "weights" in inspect.signature(metric).parameters
    except ValueError:  # some built-in functions have no signature
        return False


def _set_statistic(
    name: str, metric: Callable[..., Any], predictions: Predictions, units: np.ndarray
) -> Callable[[np.ndarray], float]:
    outputs, targets, weights, _ = predictions
    weights = np.ones(len(units)) if weights is None else np.asarray(weights, np.float64)
    if metric in BY_SUMS:
        summands, value_of = BY_SUMS[metric]
        of_rows = summands(outputs, targets, weights)
        return lambda counts: value_of(np.tensordot(counts[units], of_rows, axes=1))

    def statistic(counts: np.ndarray) -> float:
        drawn = counts[units].reshape(-1, *[1] * (weights.ndim - 1)) * weights
        value = np.asarray(metric(outputs, targets, weights=drawn))
        if value.ndim:
            raise ValueError(
                f"metric {name!r} must give one number, because it has a parameter named weights; got shape {value.shape}."
            )
        return float(value)

    return statistic


def _mean_statistic(
    name: str, metric: Callable[..., Any], predictions: Predictions, units: np.ndarray
) -> Callable[[np.ndarray], float]:
    values = np.asarray(metric(*jax.tree.map(jnp.asarray, (predictions.outputs, predictions.targets))), np.float64)
    _check_rows(name, values.shape, predictions)
    weights = weights_like(predictions.weights, values.shape)
    # where, not a product: an absent entry may hold NaN.
    parts = np.where(weights > 0, weights * values, 0), weights
    sums = np.stack([np.bincount(units, part.sum(axis=tuple(range(1, part.ndim)))) for part in parts])

    def statistic(counts: np.ndarray) -> float:
        # An infinite value that is not drawn makes the mean NaN as well. Not @: on a busy machine its threads wait for each other.
        with np.errstate(invalid="ignore"):
            total, weight = np.einsum("su,u->s", sums, counts)
            return float(total / weight)

    return statistic


def _check_rows(name: str, got: tuple[int, ...], predictions: Predictions) -> None:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves((predictions.outputs, predictions.targets))]
    # [n, 1] with [n] broadcasts to all pairs of rows.
    pairs = len(shapes) == 2 and len(shapes[0]) != len(shapes[1]) and len(got) > 1 and got not in shapes
    if pairs or got[:1] != shapes[0][:1]:
        raise ValueError(
            f"metric {name!r} must give one value or more per row, [rows, ...], unless it has a parameter named weights; "
            f"got shape {got} from outputs and targets of shapes {shapes}."
        )


def _estimated(value: float, resampled: np.ndarray) -> Estimate:
    defined = resampled[~np.isnan(resampled)]
    if not np.isfinite(value) or len(defined) < 2:
        return Estimate(value, float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(high - low) / 2)
