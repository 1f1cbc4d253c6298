"""Metrics: of single rows, of all rows at once, with intervals, and of one method against another.

*Row metrics*, ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``, are what :func:`jmeta.evaluate` averages. They run inside jit.

*Set metrics*, ``(outputs, targets, weights=None) -> float``, are no means over rows: they are computed on the host, of all rows at
once, and never averaged over batches or episodes. Common to all:

- Outputs are logits for classification, ``[..., ways]`` for integer targets ``[...]``. One logit per label has the targets' shape,
  ``[n]`` for one label (0 or 1) or ``[n, k]`` for k labels that do not exclude each other; or a trailing 1, and then all entries of
  the targets are of one label. Its sign decides: above 0 it predicts label 1.
- Weights have the first axes of the targets, ``[n]`` or more, and say what each entry counts. A whole number counts like so many
  repeated entries. An entry with weight 0 is absent: it may hold NaN, and changes nothing.
- What is undefined for a class, a label or a column is left out of the mean over them. Where nothing is left, the metric is NaN.
- ``ValueError`` where shapes or types do not fit, or where an entry with a weight above 0 is not finite or no label.

:func:`measure` gives both an interval. :func:`delta_m` and :func:`paired_delta_m` compare the metrics of a method with those of a
baseline, :func:`mean_rank` those of several methods with each other.
"""

import jax
import jax.numpy as jnp

from jmeta._metrics.bootstrap import Predictions, measure
from jmeta._metrics.comparison import delta_m, mean_rank, paired_delta_m
from jmeta._metrics.decisions import f1_score, mean_iou, precision, recall
from jmeta._metrics.entries import has_one_logit
from jmeta._metrics.regression import explained_variance, r2_score, root_mean_squared_error
from jmeta._metrics.scores import average_precision, calibration_error, roc_auc

__all__ = [
    "Predictions",
    "absolute_error",
    "accuracy",
    "average_precision",
    "calibration_error",
    "delta_m",
    "explained_variance",
    "f1_score",
    "mean_iou",
    "mean_rank",
    "measure",
    "negative_log_likelihood",
    "paired_delta_m",
    "precision",
    "r2_score",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "squared_error",
]


def accuracy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Marks with 1 each label that is predicted right.

    Of several logits per label the largest decides. One logit per label, which is one of two classes or one of several labels that
    do not exclude each other, is decided by its sign: above 0 it predicts label 1. NaN logits give NaN, not the luck of class 0.

    >>> import jax.numpy as jnp
    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])).tolist()
    [1.0, 0.0]
    >>> accuracy(jnp.array([0.9, -0.8]), jnp.array([1, 1])).tolist()
    [1.0, 0.0]

    Args:
      outputs: logits ``[..., ways]``; or one per label, of the targets' shape or with a trailing 1.
      targets: ``[...]`` integer labels, or booleans.

    Raises:
      ValueError: if the targets are no labels, the outputs no logits, or their shapes do not fit.
    """
    if has_one_logit(outputs, targets):
        logits = outputs.reshape(targets.shape)
        right, undefined = (logits > 0) == targets, jnp.isnan(logits)
    else:
        right, undefined = jnp.argmax(outputs, axis=-1) == targets, jnp.isnan(outputs).any(axis=-1)
    return jnp.where(undefined, jnp.nan, right.astype(jnp.float32))


def negative_log_likelihood(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    r"""Computes :math:`-\log p(\text{target})` in nats, of the softmax of several logits or the sigmoid of one.

    A label that is not among the classes gives NaN.

    >>> import jax.numpy as jnp
    >>> negative_log_likelihood(jnp.array([[0.0, 0.0], [0.0, 100.0]]), jnp.array([0, 0])).round().tolist()  # log 2 is 0.69
    [1.0, 100.0]

    Args:
      outputs: logits, as for :func:`accuracy`.
      targets: ``[...]`` integer labels, or booleans.

    Raises:
      ValueError: if the targets are no labels, the outputs no logits, or their shapes do not fit.
    """
    one_logit = has_one_logit(outputs, targets)
    logits, labels = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)), targets.astype(int)
    if one_logit:
        ways, values = 2, jax.nn.softplus(jnp.where(labels == 1, -1, 1) * logits.reshape(labels.shape))
    else:
        ways = logits.shape[-1]
        values = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]
    return jnp.where((labels >= 0) & (labels < ways), values, jnp.nan)


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Squares the differences.

    Raises:
      ValueError: if the shapes differ, which would broadcast to all pairs of rows.
    """
    return jnp.square(_difference(outputs, targets))


def absolute_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Takes the differences without their signs.

    Raises:
      ValueError: if the shapes differ, which would broadcast to all pairs of rows.
    """
    return jnp.abs(_difference(outputs, targets))


def _difference(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape; got {outputs.shape} and {targets.shape}.")
    return outputs - targets
