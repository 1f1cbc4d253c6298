"""k-means (Lloyd, 1982), by scikit-learn."""

from typing import Any, NamedTuple

import numpy as np

from jmeta._options import check_counts
from jmeta.transfer._two_domains import check_features


class Clusters(NamedTuple):
    """Clusters of examples.

    Attributes:
      assignment: ``[n]``, the number of each example's cluster.
      centroids: ``[clusters, d]``, the mean of each.
    """

    assignment: np.ndarray
    centroids: np.ndarray


def k_means(features: Any, clusters: int, *, restarts: int = 20, seed: int = 0) -> Clusters:
    """Finds clusters of features, the best of several starts by k-means++.

    Args:
      features: ``[n, d]``.
      clusters: how many.
      restarts: starts; DEC has 20.
      seed: of the starts.

    Raises:
      ValueError: if they are no finite features, or there are fewer examples than clusters.
      ImportError: if scikit-learn is not there.
    """
    features = check_features("features", features)
    check_counts(clusters=clusters, restarts=restarts)
    if clusters > len(features):
        raise ValueError(f"clusters must be at most the number of examples; got clusters={clusters} and {len(features)}.")
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ImportError("k-means needs scikit-learn: pip install 'jmeta[analysis]'.") from error
    found = KMeans(clusters, random_state=seed).set_params(n_init=restarts).fit(features)
    return Clusters(np.asarray(found.labels_, np.int64), np.asarray(found.cluster_centers_))
