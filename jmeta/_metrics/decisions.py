"""Metrics of what is decided: the largest logit of several, the sign of one."""

from typing import Any, Literal

import numpy as np

from jmeta._metrics.entries import by_label, pooled, weights_like

Average = Literal["macro", "micro"]


def precision(outputs: Any, targets: Any, weights: Any = None, *, average: Average = "macro") -> float:
    """Computes the share of what was predicted positive that is positive; 0 where nothing was.

    >>> precision(np.array([2.0, 1.0, -1.0]), np.array([1, 0, 1]))
    0.5

    Args:
      outputs: logits ``[..., ways]``, or one per label. With one label the metric is that of label 1; with two logits it is the
        mean over both classes.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.
      average: "macro", the mean over labels, or over the classes that occur in targets or predictions; "micro", of all decisions
        together, which for classes that exclude each other is the accuracy.

    Raises:
      ValueError: if ``average`` is neither, or as all set metrics do.
    """
    hits, predicted, _, occurs = _tally(outputs, targets, weights)
    return _averaged(hits, predicted, occurs, average)


def recall(outputs: Any, targets: Any, weights: Any = None, *, average: Average = "macro") -> float:
    """Computes the share of what is positive that was predicted positive; 0 where nothing is.

    Args:
      outputs: logits, as for :func:`precision`.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.
      average: as for :func:`precision`.

    Raises:
      ValueError: if ``average`` is neither, or as all set metrics do.
    """
    hits, _, positive, occurs = _tally(outputs, targets, weights)
    return _averaged(hits, positive, occurs, average)


def f1_score(outputs: Any, targets: Any, weights: Any = None, *, average: Average = "macro") -> float:
    """Computes the harmonic mean of precision and recall; 0 where nothing is or was predicted positive.

    The macro average is the mean of the F1 scores, not the F1 score of the means.

    Args:
      outputs: logits, as for :func:`precision`.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.
      average: as for :func:`precision`.

    Raises:
      ValueError: if ``average`` is neither, or as all set metrics do.
    """
    hits, predicted, positive, occurs = _tally(outputs, targets, weights)
    return _averaged(2 * hits, predicted + positive, occurs, average)


def mean_iou(outputs: Any, targets: Any, weights: Any = None, *, void: int | None = None) -> float:
    """Averages intersection over union over the classes that occur in targets or predictions.

    Args:
      outputs: ``[..., ways]`` logits; one logit per label makes background and foreground two classes.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.
      void: a label that marks entries which do not count.

    Raises:
      ValueError: as all set metrics do.
    """
    hits, predicted, positive = _count_classes(*pooled(outputs, targets, weights, void=void))
    return mean_iou_of(np.stack([hits, predicted + positive - hits]))


def intersections_and_unions(outputs: Any, targets: Any, weights: Any = None) -> np.ndarray:
    """Counts what :func:`mean_iou` is made of in each row, ``[n, 2, ways]``: it is a function of their sum."""
    logits, labels, counts = pooled(outputs, targets, weights)
    rows, ways = len(targets), logits.shape[-1]
    present = weights_like(weights, np.shape(targets)) > 0
    first = ways * np.broadcast_to(np.arange(rows).reshape(-1, *[1] * (present.ndim - 1)), present.shape)[present]
    tallies = _count_classes(logits, labels, counts, first=first, length=rows * ways)
    hits, predicted, positive = (tally.reshape(rows, ways) for tally in tallies)
    return np.stack([hits, predicted + positive - hits], axis=1)


def mean_iou_of(counts: np.ndarray) -> float:
    """Averages the quotients of intersections and unions ``[2, ways]`` over the classes that occur."""
    hits, union = counts
    return _averaged(hits, union, union > 0, "macro")


def _tally(outputs: Any, targets: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts, for each class or label, hits, predicted and true positives; and tells which of them occur at all."""
    logits, labels, weights = by_label(outputs, targets, weights)
    if logits.ndim > labels.ndim:
        hits, predicted, positive = _count_classes(logits, labels, weights)
        return hits, predicted, positive, predicted + positive > 0
    found, true = logits > 0, labels == 1
    hits, predicted, positive = ((weights * marks).sum(axis=0) for marks in (found & true, found, true))
    return hits, predicted, positive, weights.sum(axis=0) > 0


def _count_classes(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, first: Any = 0, length: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts hits, predictions and true labels of each class; ``first`` is where each entry's classes begin among ``length``."""
    found = logits.argmax(axis=-1)
    size, right = length or logits.shape[-1], found == labels
    labels, found = labels + first, found + first
    marked = (labels[right], weights[right]), (found, weights), (labels, weights)
    hits, predicted, positive = (np.bincount(classes, counts, minlength=size) for classes, counts in marked)
    return hits, predicted, positive


def _averaged(numerator: np.ndarray, denominator: np.ndarray, occurs: np.ndarray, average: str) -> float:
    if average not in ("macro", "micro"):
        raise ValueError(f"average must be 'macro' or 'micro'; got {average!r}.")
    if not occurs.any():
        return float("nan")
    if average == "micro":
        numerator, denominator, occurs = numerator.sum(keepdims=True), denominator.sum(keepdims=True), np.ones(1, bool)
    return float((numerator / np.where(denominator > 0, denominator, 1))[occurs].mean())
