"""The kinds of target of multi-task problems: a label, a label for each pixel, numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax

from jmeta._catalogue.rows import Target
from jmeta._types import LossFn, Model
from jmeta.metrics import absolute_error, accuracy, mean_iou, r2_score, root_mean_squared_error, squared_error
from jmeta.multitask._multitask import Task

Metrics = Mapping[str, Callable[..., Any]]


def label(head: Model, classes: int) -> Target:
    """A class of each example, ``[n]``."""
    return _of_classes(head, classes, {"accuracy": accuracy})


def label_map(head: Model, classes: int) -> Target:
    """A class of each pixel, ``[n, height, width]``."""
    return _of_classes(head, classes, {"mean IoU": mean_iou, "pixel accuracy": accuracy})


def numbers(head: Model) -> Target:
    """Standardised numbers of each example, ``[n, outputs]``."""

    def metrics(deviation: Any) -> Metrics:
        def error(outputs: Any, targets: Any, weights: Any = None) -> float:
            unit = 1 if deviation is None else deviation
            return root_mean_squared_error(outputs * unit, targets * unit, weights)

        return {"root mean squared error": error, "R2": r2_score}

    return measured(head, squared_error, metrics)


def measured(head: Model, loss_fn: LossFn, metrics: Callable[[Any], Metrics]) -> Target:
    """Numbers ``[n, ...]`` with metrics of their own."""
    return Target(Task(head, loss_fn), metrics, _mean)


def depth_map(head: Model) -> Target:
    """A distance of each pixel, ``[n, height, width, 1]``, in metres."""
    return measured(
        head, absolute_error, lambda deviation: {"absolute error (m)": absolute_error, "relative error": _relative_error}
    )


def _of_classes(head: Model, classes: int, metrics: Metrics) -> Target:
    def constant(targets: Any, weights: Any) -> np.ndarray:
        counted = np.ones(np.shape(targets)) if weights is None else np.broadcast_to(weights, np.shape(targets))
        counts = np.bincount(np.ravel(targets)[np.ravel(counted) > 0], minlength=classes)
        logits = np.log(counts + 1.0).astype(np.float32)
        return np.broadcast_to(logits, (*np.shape(targets)[1:], classes))

    return Target(Task(head, optax.softmax_cross_entropy_with_integer_labels), lambda deviation: metrics, constant)


def _mean(targets: Any, weights: Any) -> np.ndarray:
    counted = np.ones(len(targets)) if weights is None else np.asarray(weights)
    axes = tuple(range(counted.ndim))
    total = (targets * counted.reshape(*counted.shape, *[1] * (targets.ndim - counted.ndim))).sum(axis=axes)
    return np.broadcast_to((total / max(counted.sum(), 1)).astype(targets.dtype), targets.shape[1:])


def _relative_error(outputs: Any, targets: Any) -> Any:
    return absolute_error(outputs, targets) / targets
