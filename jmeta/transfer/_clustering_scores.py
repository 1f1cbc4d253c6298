"""How well clusters agree with classes that they were found without, whatever the numbers of either."""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import labels_of, one_hot


def clustering_accuracy(clusters: Any, labels: Any) -> float:
    r"""Computes the share of examples in the cluster of their class, by the best assignment of clusters to classes, one to one.

    .. math:: \max_\pi \frac{1}{n} \sum_i [\pi(c_i) = y_i]

    found by the Hungarian algorithm (Kuhn, 1955). Of more clusters than classes some belong to no class, and count as wrong.

    Args:
      clusters: ``[n]`` integers.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if they are not one integer per example, or there is none.

    >>> clustering_accuracy([5, 5, 2, 2], [0, 0, 0, 1])
    0.75
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(clusters, labels)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def normalized_mutual_information(clusters: Any, labels: Any) -> float:
    r"""Computes the mutual information of clusters and classes over the mean of their entropies, from 0 to 1.

    .. math:: \frac{2 I(C; Y)}{H(C) + H(Y)}

    Of one cluster and one class it is 1. It rises with the number of clusters, by chance alone.

    Args:
      clusters: ``[n]`` integers.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if they are not one integer per example, or there is none.
    """
    shares = contingency(clusters, labels)
    shares = shares / shares.sum()
    of_clusters, of_labels = shares.sum(axis=1), shares.sum(axis=0)
    both = _entropy(of_clusters) + _entropy(of_labels)
    # Next to nothing in common may come out below 0.
    return max(2 * (1 - _entropy(shares.ravel()) / both), 0.0) if both > 0 else 1.0


def adjusted_rand_index(clusters: Any, labels: Any) -> float:
    r"""Computes the agreement on pairs of examples, together or apart, beyond that by chance (Hubert and Arabie, 1985).

    1 where clusters are the classes, 0 on average for clusters at random with as many examples; it may be negative.

    Args:
      clusters: ``[n]`` integers.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if they are not one integer per example, or there is none.
    """
    table = contingency(clusters, labels)
    counted = table, table.sum(axis=1), table.sum(axis=0), table.sum()
    together, of_clusters, of_labels, every = map(_pairs, counted)
    if of_clusters == of_labels == together:
        return 1.0
    by_chance = of_clusters * of_labels / every
    return (together - by_chance) / ((of_clusters + of_labels) / 2 - by_chance)


def contingency(clusters: Any, labels: Any) -> np.ndarray:
    """Counts the examples of each cluster and class, ``[clusters, classes]``."""
    rows = np.size(clusters)
    if not rows:
        raise ValueError("clusters must hold at least one example; got none.")
    members = one_hot(labels_of("clusters", clusters, rows))
    return members.T @ one_hot(labels_of("labels", labels, rows))


def _entropy(shares: np.ndarray) -> float:
    seen = shares[shares > 0]
    return float(-(seen * np.log(seen)).sum())


def _pairs(counts: np.ndarray) -> float:
    return float((counts * (counts - 1) / 2).sum())
