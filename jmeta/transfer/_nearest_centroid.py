"""The classifier by nearest means (Tibshirani, Hastie, Narasimhan and Chu, 2002, PNAS) as a linear head."""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import members_of
from jmeta.transfer._two_domains import check_features


def nearest_centroid(features: Any, labels: Any) -> dict[str, np.ndarray]:
    r"""Gives the linear head that chooses the class of the nearest mean.

    .. math:: -|f - c_k|^2 + |f|^2 = 2 f \cdot c_k - |c_k|^2

    Args:
      features: ``[n, d]``.
      labels: ``[n]``, from 0.

    Returns:
      ``kernel [d, classes]`` and ``bias [classes]`` in float64, which are the parameters of a dense layer.

    Raises:
      ValueError: if they are no finite features, labels are not one integer for each, or a class below the greatest has no example.
    """
    features = check_features("features", features)
    members = members_of(labels, len(features))
    centroids = (members.T @ features) / members.sum(axis=0)[:, None]
    return {"kernel": 2 * centroids.T, "bias": -np.square(centroids).sum(axis=1)}
