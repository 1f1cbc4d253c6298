"""Metrics of numbers: how far off they are, and how much of the targets' variance is explained."""

from typing import Any

import numpy as np

from jmeta._metrics.entries import columns_of_numbers, mean_of_defined


def root_mean_squared_error(outputs: Any, targets: Any, weights: Any = None) -> float:
    r"""Computes :math:`\sqrt{\mathrm{mean} (y - f)^2}` for each column, in the unit of the targets, and their mean.

    A column without targets is left out; with no other the error is NaN.

    Args:
      outputs: ``[n, ...]`` predicted numbers.
      targets: ``[n, ...]`` true ones, of the same shape.
      weights: what each entry counts, of the first axes of the targets.

    Raises:
      ValueError: as all set metrics do.
    """
    outputs, targets, weights = columns_of_numbers(outputs, targets, weights)
    total = weights.sum(axis=0)
    squares = (weights * (targets - outputs) ** 2).sum(axis=0)[total > 0]
    return mean_of_defined(np.sqrt(squares / total[total > 0]))


def r2_score(outputs: Any, targets: Any, weights: Any = None) -> float:
    r"""Computes :math:`1 - \sum (y - f)^2 / \sum (y - \bar y)^2` for each column, and their mean.

    A column whose targets are constant is undefined, and so left out; with no other the score is NaN.

    Args:
      outputs: ``[n, ...]`` predicted numbers.
      targets: ``[n, ...]`` true ones, of the same shape.
      weights: what each entry counts, of the first axes of the targets.

    Raises:
      ValueError: as all set metrics do.
    """
    outputs, targets, weights = columns_of_numbers(outputs, targets, weights)
    return _explained(targets - outputs, targets, weights)


def explained_variance(outputs: Any, targets: Any, weights: Any = None) -> float:
    r"""Computes :math:`1 - Var(y - f) / Var(y)` for each column, and their mean: :func:`r2_score` but for a constant offset.

    Args:
      outputs: ``[n, ...]`` predicted numbers.
      targets: ``[n, ...]`` true ones, of the same shape.
      weights: what each entry counts, of the first axes of the targets.

    Raises:
      ValueError: as all set metrics do.
    """
    outputs, targets, weights = columns_of_numbers(outputs, targets, weights)
    return _explained(_centred(targets - outputs, weights), targets, weights)


def _explained(errors: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    present = weights > 0
    highest = np.where(present, targets, -np.inf).max(axis=0, initial=-np.inf)
    # By the values themselves: the variance of a constant need not round to 0.
    varies = highest > np.where(present, targets, np.inf).min(axis=0, initial=np.inf)
    unexplained = (weights * errors**2).sum(axis=0)[varies]
    total = (weights * _centred(targets, weights) ** 2).sum(axis=0)[varies]
    return mean_of_defined(1 - unexplained / total)


def _centred(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=0)
    return values - (weights * values).sum(axis=0) / np.where(total > 0, total, 1)
