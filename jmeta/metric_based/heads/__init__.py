"""Heads that are fitted by a formula, inside the compiled step: functions of features ``[n, d]`` and of what rows count.

``members [n, ways]`` says how much each row counts for each class: one-hot labels, times weights, and 0 where a row is masked. Each
head is differentiable and may be mapped over tasks. Their names are short and are offered here alone.
"""

from jmeta.metric_based.heads._logistic import logistic_head
from jmeta.metric_based.heads._mahalanobis import Gaussians, mahalanobis_distances, mahalanobis_head
from jmeta.metric_based.heads._ridge import ridge_head

__all__ = [
    "Gaussians",
    "logistic_head",
    "mahalanobis_distances",
    "mahalanobis_head",
    "ridge_head",
]
