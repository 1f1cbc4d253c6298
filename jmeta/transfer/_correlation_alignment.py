"""CORAL, the closed form (Sun, Feng and Saenko, 2016, 1511.05547), algorithm 1."""

from typing import Any

import numpy as np

from jmeta._options import check_positive
from jmeta.transfer._two_domains import Pair, check_domains


def correlation_alignment(source: Any, target: Any, *, regularization: float = 1.0) -> Pair:
    r"""Gives the source features the covariance of the target.

    .. math:: X_s (C_s + \lambda I)^{-1/2} (C_t + \lambda I)^{1/2}

    Whiten, then recolour; what learns from the result predicts on the target as it is. Means stay, so centre both first, as a rule
    with the z-score of each domain.

    Args:
      source: ``[n, d]``.
      target: ``[m, d]``.
      regularization: :math:`\lambda`, 1 in the paper, in the units of a variance.

    Returns:
      The source recoloured, and the target, in float64 on the host.

    Raises:
      ValueError: if they are no features of one width, or the regularisation is not positive.
    """
    source, target = check_domains(source, target)
    check_positive(regularization=regularization)
    whiten, colour = (_power(rows, regularization, power) for rows, power in ((source, -0.5), (target, 0.5)))
    return source @ whiten @ colour, target


def _power(rows: np.ndarray, regularization: float, power: float) -> np.ndarray:
    """Raises a regularised covariance to a power."""
    centred = rows - rows.mean(axis=0)
    # One row has a covariance of 0.
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(rows) - 1, 1))
    return vectors * (np.maximum(values, 0) + regularization) ** power @ vectors.T
