"""Metrics of what scores and probabilities say, whatever is decided: how they rank entries, and whether they can be believed."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jmeta._metrics.entries import by_label, mean_of_defined, pooled


def roc_auc(outputs: Any, targets: Any, weights: Any = None) -> float:
    """Computes the probability that a positive entry scores above a negative one, ties counting half (Hanley and McNeil 1982).

    Several logits are one-vs-rest: the mean over classes, each scored by its softmax probability. A label or class is undefined,
    and so left out, without both positive and negative entries; targets of one class only give NaN.

    >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]))
    0.875

    Args:
      outputs: logits ``[..., ways]``, or one per label.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.

    Raises:
      ValueError: as all set metrics do.
    """
    return mean_of_defined([_area(*ranked) for ranked in _ranked_by_label(outputs, targets, weights)])


def average_precision(outputs: Any, targets: Any, weights: Any = None) -> float:
    r"""Computes :math:`\sum_t (R_t - R_{t-1}) P_t` over the thresholds t, without interpolation.

    Several logits are one-vs-rest, as for :func:`roc_auc`. A label or class without positive entries is undefined, and so left out.

    Args:
      outputs: logits ``[..., ways]``, or one per label.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.

    Raises:
      ValueError: as all set metrics do.
    """
    return mean_of_defined([_average_precision(*ranked) for ranked in _ranked_by_label(outputs, targets, weights)])


def calibration_error(outputs: Any, targets: Any, weights: Any = None, *, bins: int = 15) -> float:
    r"""Computes the expected calibration error :math:`\sum_b \frac{|B_b|}{n} |acc(B_b) - conf(B_b)|` (Guo et al. 2017, 1706.04599).

    Confidence is the probability of the predicted class: the largest of the softmax, or, with one logit z per label,
    ``sigmoid(|z|)``, all labels together. The bins ``(b / bins, (b + 1) / bins]`` are equally wide.

    >>> calibration_error(np.array([0.0, 0.0]), np.array([0, 1]))  # half sure, and right half of the time
    0.0

    Args:
      outputs: logits ``[..., ways]``, or one per label.
      targets: ``[...]`` labels.
      weights: what each entry counts, of the first axes of the targets.
      bins: how many.

    Raises:
      ValueError: if there are no bins, or as all set metrics do.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1; got {bins}.")
    logits, labels, weights = pooled(outputs, targets, weights)
    if not len(labels):
        return float("nan")
    confidence, right = _softmax(logits).max(axis=-1), logits.argmax(axis=-1) == labels
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    gaps = np.bincount(which, weights * (right - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())


def _ranked_by_label(outputs: Any, targets: Any, weights: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gives, for each class or label, the weights of positive and of negative entries at each score, lowest first."""
    logits, labels, weights = by_label(outputs, targets, weights)
    exclusive = logits.ndim > labels.ndim
    scores = _softmax(logits) if exclusive else logits
    for column in range(scores.shape[-1]):
        true, counts = (labels == column, weights) if exclusive else (labels[:, column] == 1, weights[:, column])
        present = counts > 0
        levels, level = np.unique(scores[present, column], return_inverse=True)
        positive, negative = (np.bincount(level, (counts * marks)[present], minlength=len(levels)) for marks in (true, ~true))
        yield positive, negative


def _area(positive: np.ndarray, negative: np.ndarray) -> float:
    pairs = positive.sum() * negative.sum()
    below = negative.cumsum() - negative / 2
    return float((positive * below).sum() / pairs) if pairs > 0 else float("nan")


def _average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    hits = positive[::-1].cumsum()
    predicted = hits + negative[::-1].cumsum()
    return float((positive[::-1] * hits / predicted).sum() / hits[-1]) if positive.sum() > 0 else float("nan")


def _softmax(logits: np.ndarray) -> np.ndarray:
    scaled = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)
