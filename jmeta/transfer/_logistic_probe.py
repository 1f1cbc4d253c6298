"""A linear head on ready-made features by logistic regression (Alain and Bengio, 2016, 1610.01644, call it a linear probe)."""

from typing import Any

import numpy as np

from jmeta._options import check_positive
from jmeta.transfer._transferability import members_of
from jmeta.transfer._two_domains import check_features


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
      ValueError: if they are no finite features, labels are not one integer for each, a class below the greatest has no example,
        there is one class alone, or the regularisation is not positive.
      ImportError: if scikit-learn is not there.
    """
    features = check_features("features", features)
    members = members_of(labels, len(features))
    check_positive(regularization=regularization)
    classes = members.shape[1]
    if classes < 2:
        raise ValueError("labels must be of two classes at least; got one alone.")
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError("a logistic probe needs scikit-learn: pip install 'jmeta[analysis]'.") from error
    # Of two classes there is one vector, the difference of theirs, whose square is twice the sum of theirs.
    strength = regularization / 2 if classes == 2 else regularization
    solver = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=10_000).fit(features, members.argmax(axis=1))
    kernel, bias = solver.coef_.T, solver.intercept_
    if classes == 2:
        kernel, bias = kernel * [[-0.5, 0.5]], bias * np.array([-0.5, 0.5])
    return {"kernel": kernel, "bias": bias}
