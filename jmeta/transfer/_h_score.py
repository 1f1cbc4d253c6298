"""The H-score (Bao et al., 2019, ICIP, *An information-theoretic approach to transferability in task transfer learning*).

The pseudo-inverse leaves out what is below the resolution of float64; that of the Transfer-Learning-Library, cut at 1e-15 of the
largest eigenvalue, keeps rounding where features depend on each other.
"""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import labels_of, one_hot
from jmeta.transfer._two_domains import check_features


def h_score(features: Any, labels: Any) -> float:
    r"""Measures how much of the variance of features is that between classes, along all their directions alike.

    .. math:: \mathrm{tr}\left(\mathrm{cov}(f)^+ \, \mathrm{cov}(\mathbb{E}[f \mid y])\right)

    From 0 to one less than the classes, which any features reach that are as many as the examples.

    Args:
      features: ``[n, d]``, what a pretrained encoder makes of the examples of the task.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if features are not finite, or labels not one per example.

    >>> round(h_score([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1]), 6)
    1.0
    """
    features = check_features("features", features)
    members = one_hot(labels_of("labels", labels, len(features)))
    # Along left singular vectors the covariance is the identity, and cov(E[f | y]) that of their means by class.
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    kept = values > max(features.shape) * np.finfo(np.float64).eps * values[0]
    sums = members.T @ left[:, kept]
    return float((sums**2 / members.sum(axis=0)[:, None]).sum())
