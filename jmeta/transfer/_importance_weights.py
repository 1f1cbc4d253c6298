"""Importance weights by a classifier of domains.

Bickel, Brückner and Scheffer (2007, ICML, *Discriminative learning for differing training and test distributions*).
"""

from typing import Any

import numpy as np

from jmeta._options import check_positive
from jmeta.transfer._two_domains import check_domains

STEPS = 100


def importance_weights(source: Any, target: Any, at: Any = None, *, regularization: float = 1.0) -> np.ndarray:
    r"""Says how much denser the target is than the source, at some features.

    .. math:: w(x) = \frac{p_t(x)}{p_s(x)} = \frac{n_s}{n_t} \cdot \frac{P(\text{target} \mid x)}{P(\text{source} \mid x)}

    with the probabilities of a logistic regression that tells the two apart, on features of mean 0 and variance 1 over both; its
    weights are penalised by :math:`\lambda / 2 \, |w|^2` against the sum of the losses.

    Args:
      source: ``[n, d]``, which the classifier is fitted on.
      target: ``[m, d]``, likewise.
      at: ``[k, d]``, other examples of the source, by default these.
      regularization: :math:`\lambda`. More draws all weights towards one.

    Returns:
      ``[k]`` weights, in float64 on the host.

    Raises:
      ValueError: if they are no features of one width, or the regularisation is not positive.
    """
    source, target = check_domains(source, target)
    at = source if at is None else check_domains(at, target)[0]
    check_positive(regularization=regularization)
    rows = np.concatenate([source, target])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    sides = np.repeat([-1.0, 1.0], [len(source), len(target)])
    weights = _logistic_regression(_with_one((rows - mean) / scale), sides, regularization)
    return len(source) / len(target) * np.exp(_with_one((at - mean) / scale) @ weights)


def _logistic_regression(x: np.ndarray, signs: np.ndarray, regularization: float) -> np.ndarray:
    """Fits by Newton's method, with steps that are halved until the loss falls; the last weight, of the ones, is free."""
    penalty = np.append(np.full(x.shape[1] - 1, regularization), 0)
    weights = np.zeros(x.shape[1])

    def loss(weights: np.ndarray) -> float:
        return np.logaddexp(0, -signs * (x @ weights)).sum() + 0.5 * penalty @ weights**2

    for _ in range(STEPS):
        wrong = 0.5 * (1 - np.tanh(signs * (x @ weights) / 2))
        slope = penalty * weights - x.T @ (signs * wrong)
        curvature = (x * (wrong * (1 - wrong))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        promised, size = slope @ step, 1.0
        while loss(weights - size * step) > loss(weights) - 1e-4 * size * promised and size > 1e-10:
            size /= 2
        weights = weights - size * step
        if promised < 1e-20 * len(x):
            break
    return weights


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
