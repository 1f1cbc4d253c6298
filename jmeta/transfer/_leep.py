"""LEEP, the log expected empirical prediction (Nguyen, Hassner, Seeger and Archambeau, 2020, 2002.12462), equation 2."""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import labels_of, one_hot
from jmeta.transfer._two_domains import check_features


def leep(probabilities: Any, labels: Any) -> float:
    r"""Says how well the guesses of a classifier of other classes predict labels, in nats per example.

    .. math:: \frac{1}{n} \sum_i \log \sum_z \hat{P}(y_i \mid z) \, \theta(x_i)_z

    with :math:`\hat{P}` counted from the guesses and labels themselves. At most 0, and more is better.

    Args:
      probabilities: ``[n, source classes]``, of the source classes for the examples of the task.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if probabilities are not positive or 0, do not add up to 1, or labels are not one per example.
    """
    guesses = check_features("probabilities", probabilities)
    if (guesses < 0).any() or not np.allclose(guesses.sum(axis=1), 1, atol=1e-4):
        total = guesses.sum(axis=1)
        raise ValueError(
            "probabilities must be at least 0 and add up to 1 in each row; got a smallest one of "
            f"{guesses.min():.3g} and sums from {total.min():.3g} to {total.max():.3g}."
        )
    members = one_hot(labels_of("labels", labels, len(guesses)))
    together = guesses.T @ members
    of_source = together.sum(axis=1, keepdims=True)
    # A source class that nothing is taken for says nothing.
    given = together / np.where(of_source > 0, of_source, 1)
    return float(np.log(((guesses @ given) * members).sum(axis=1)).mean())
