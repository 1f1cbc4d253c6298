"""Linear heads on ready-made features, by what closes in a formula or has one optimum.

Linear probes: Alain and Bengio (2016, 1610.01644); nearest centroid: Tibshirani et al. (2002, PNAS).
"""

from typing import Any

import numpy as np

from jmeta._options import check_positive
from jmeta.transfer._transferability import columns_of, same_rows
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
    features, answers = _fitted_on(features, targets)
    check_positive(regularization=regularization)
    centre, middle = features.mean(axis=0), answers.mean(axis=0)
    x, y = features - centre, answers - middle
    rows, width = x.shape
    if width <= rows:
        kernel = np.linalg.solve(x.T @ x + regularization * np.eye(width), x.T @ y)
    else:
        kernel = x.T @ np.linalg.solve(x @ x.T + regularization * np.eye(rows), y)
    return {"kernel": kernel, "bias": middle - centre @ kernel}


def logistic_probe(features: Any, labels: Any, *, regularization: float = 1.0) -> dict[str, np.ndarray]:
    r"""Fits a linear head by multinomial logistic regression.

    .. math:: \min_{W, b} -\sum_i \log \mathrm{softmax}(f_i W + b)_{y_i} + \lambda / 2 \, |W|^2

    Args:
      features: ``[n, d]``; of about the same scale, or the penalty weighs them differently.
      labels: ``[n]``, from 0.
      regularization: :math:`\lambda`.

    Returns:
      ``kernel [d, classes]`` and ``bias [classes]`` in float64, which are the parameters of a dense layer.

    Raises:
      ValueError: as :func:`ridge_probe`, or if there is one class alone.
      ImportError: if scikit-learn is not there.
    """
    features, answers = _fitted_on(features, np.asarray(labels).astype(int))
    check_positive(regularization=regularization)
    if answers.shape[1] < 2:
        raise ValueError("labels must be of two classes at least; got one alone.")
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError("a logistic probe needs scikit-learn: pip install 'jmeta[analysis]'.") from error
    solver = LogisticRegression(C=1 / regularization, tol=1e-8, max_iter=10_000).fit(features, answers.argmax(axis=1))
    kernel, bias = solver.coef_.T, solver.intercept_
    if answers.shape[1] == 2:
        # One logit of two classes is that of the second against the first, half of it on either side.
        kernel, bias = kernel * [[-0.5, 0.5]], bias * np.array([-0.5, 0.5])
    return {"kernel": kernel, "bias": bias}


def nearest_centroid(features: Any, labels: Any) -> dict[str, np.ndarray]:
    r"""Gives the linear head that chooses the class of the nearest mean.

    .. math:: -|f - c_k|^2 + |f|^2 = 2 f \cdot c_k - |c_k|^2

    Args:
      features: ``[n, d]``.
      labels: ``[n]``, from 0.

    Returns:
      ``kernel [d, classes]`` and ``bias [classes]`` in float64, which are the parameters of a dense layer.

    Raises:
      ValueError: as :func:`ridge_probe`.
    """
    features, members = _fitted_on(features, np.asarray(labels).astype(int))
    centroids = (members.T @ features) / members.sum(axis=0)[:, None]
    return {"kernel": 2 * centroids.T, "bias": -np.square(centroids).sum(axis=1)}


def _fitted_on(features: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checks what a head is fitted on; ``[n, d]`` and ``[n, k]``."""
    features = check_features("features", features)
    targets = same_rows(features, targets)
    if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        present = np.unique(targets)
        if not np.array_equal(present, np.arange(len(present))):
            raise ValueError(f"labels must be 0, ..., classes - 1, each at least once; got {present.tolist()}.")
    return features, columns_of(targets)
