"""What the scores of sources share: targets of one row per example, on the host."""

from typing import Any

import numpy as np

from jmeta._sentences import kinds


def same_rows(features: np.ndarray, targets: Any) -> np.ndarray:
    """Gives targets on the host.

    Raises:
      ValueError: if they are not finite numbers, one row for each of the features.
    """
    found = np.asarray(targets)
    if found.ndim not in (1, 2) or len(found) != len(features) or not np.issubdtype(found.dtype, np.number):
        raise ValueError(f"targets must hold one row of numbers per example; got {kinds(found)} for {len(features)} examples.")
    if not np.isfinite(found).all():
        raise ValueError(f"targets must be finite; got {int((~np.isfinite(found)).sum())} values that are NaN or infinite.")
    return found


def labels_of(name: str, labels: Any, rows: int) -> np.ndarray:
    """Numbers the labels that occur: ``[n]`` integers from 0.

    Raises:
      ValueError: if they are not one integer per example.
    """
    found = np.asarray(labels)
    if found.shape != (rows,) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name} must hold one integer label per example, [{rows}]; got {kinds(found)}.")
    return np.unique(found, return_inverse=True)[1]


def members_of(labels: Any, rows: int) -> np.ndarray:
    """Marks the class of each row, ``[rows, classes]``, where a head has an output for each.

    Raises:
      ValueError: if labels are not one integer per example, or not 0, ..., classes - 1, each at least once.
    """
    numbered = labels_of("labels", labels, rows)
    if (present := np.unique(labels)).tolist() != list(range(len(present))):
        raise ValueError(f"labels must be 0, ..., classes - 1, each at least once; got {present.tolist()}.")
    return one_hot(numbered)


def columns_of(targets: np.ndarray) -> np.ndarray:
    """Makes targets ``[n, outputs]`` of labels, one-hot, and of numbers."""
    if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        return one_hot(labels_of("targets", targets, len(targets)))
    return targets.reshape(len(targets), -1).astype(np.float64)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Makes ``[n, classes]`` of numbered labels."""
    return np.eye(labels.max() + 1)[labels]
