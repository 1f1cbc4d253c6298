"""A linear head on ready-made features by least squares (Alain and Bengio, 2016, 1610.01644, call it a linear probe)."""

from typing import Any

import numpy as np

from jmeta._options import check_positive
from jmeta.transfer._transferability import columns_of, members_of, same_rows
from jmeta.transfer._two_domains import check_features


def ridge_probe(features: Any, targets: Any, *, regularization: float = 1.0) -> dict[str, np.ndarray]:
    r"""Fits a linear head by least squares.

    .. math:: \min_{W, b} |F W + b - Y|^2 + \lambda |W|^2

    The offset b is free. The smaller of the two systems is solved, of features or of examples.

    Args:
      features: ``[n, d]``.
      targets: labels ``[n]`` from 0, one-hot in Y, or numbers ``[n]`` or ``[n, k]``.
      regularization: :math:`\lambda`.

    Returns:
      ``kernel [d, k]`` and ``bias [k]`` in float64, which are the parameters of a dense layer.

    Raises:
      ValueError: if they are no finite features, targets are not one for each, a class below the greatest has no example, or the
        regularisation is not positive.
    """
    features = check_features("features", features)
    targets = same_rows(features, targets)
    if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        targets = members_of(targets, len(features))
    answers = columns_of(targets)
    check_positive(regularization=regularization)
    centre, middle = features.mean(axis=0), answers.mean(axis=0)
    x, y = features - centre, answers - middle
    rows, width = x.shape
    if width <= rows:
        kernel = np.linalg.solve(x.T @ x + regularization * np.eye(width), x.T @ y)
    else:
        kernel = x.T @ np.linalg.solve(x @ x.T + regularization * np.eye(rows), y)
    return {"kernel": kernel, "bias": middle - centre @ kernel}
