"""CACTUs: tasks for meta-learning from clusters (Hsu, Levine and Finn, 2019, 1810.02334), algorithm 1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._options import check_counts
from jmeta._sentences import shapes
from jmeta._types import Batch, Episode, Sampler
from jmeta.tasks._arrays import as_float, on_host
from jmeta.transfer._k_means import k_means
from jmeta.transfer._two_domains import check_features


class Partitions(NamedTuple):
    """Examples, and clusters of them in several ways.

    Attributes:
      x: leaves ``[n, ...]``.
      members: ``[partitions, clusters, most]``, the examples of each cluster, padded.
      counts: ``[partitions, clusters]``, how many of them are real.
    """

    x: Any
    members: jax.Array
    counts: jax.Array


def cactus(
    x: Any,
    features: Any,
    *,
    clusters: int,
    ways: int,
    shots: int,
    queries: int,
    partitions: int = 50,
    restarts: int = 1,
    seed: int = 0,
) -> Sampler:
    """Draws classification episodes whose classes are clusters of features, for any learner of the package; no label is needed.

    Each partition is k-means on the features, every one of which is scaled anew by a number drawn from 0 to 1. An episode is of one
    partition and of clusters that have ``shots + queries`` examples, which it holds. Support and query are balanced and disjoint.

    Args:
      x: the examples that a learner sees, leaves ``[n, ...]``; uint8 images become floats in [0, 1] in the episode.
      features: ``[n, d]``, what clusters are of, such as those of an encoder that was pretrained without labels.
      clusters: of each partition.
      ways: classes of an episode.
      shots: support examples per class.
      queries: query examples per class.
      partitions: how many; the first is of the features as they are.
      restarts: of k-means.
      seed: of scales and clusters.

    Raises:
      ValueError: if features and ``x`` have not as many rows, counts are no whole numbers of at least 1, or a partition has fewer
        than ``ways`` clusters of enough examples.
      ImportError: if scikit-learn is not there.
    """
    check_counts(clusters=clusters, ways=ways, shots=shots, queries=queries, partitions=partitions, restarts=restarts)
    examples, features = on_host("x", x), check_features("features", features)
    if any(leaf.shape[:1] != (len(features),) for leaf in jax.tree.leaves(examples)):
        raise ValueError(f"features must have one row for each of x; got {len(features)} rows for x {shapes(examples)}.")
    generator = np.random.default_rng(seed)
    scales = np.concatenate([np.ones((1, features.shape[1])), generator.uniform(size=(partitions - 1, features.shape[1]))])
    found = [k_means(features * scale, clusters, restarts=restarts, seed=seed + at).assignment for at, scale in enumerate(scales)]
    counts = np.stack([np.bincount(assignment, minlength=clusters) for assignment in found])
    enough = (counts >= shots + queries).sum(axis=1)
    if enough.min() < ways:
        raise ValueError(
            f"clusters must leave each partition {ways} clusters of {shots} + {queries} examples; got {enough.min()} of {clusters} "
            f"in partition {enough.argmin()}."
        )
    members = np.zeros((partitions, clusters, counts.max()), np.int64)
    for rows, assignment, sizes in zip(members, found, counts, strict=True):
        for row, chosen in zip(rows, np.split(np.argsort(assignment, kind="stable"), sizes.cumsum()[:-1]), strict=True):
            row[: len(chosen)] = chosen
    data = Partitions(jax.tree.map(jnp.asarray, examples), jnp.asarray(members), jnp.asarray(counts))

    def sample(data: Partitions, key: jax.Array) -> Episode:
        which_key, class_key, example_key = jax.random.split(key, 3)
        which = jax.random.randint(which_key, (), 0, partitions)
        sizes = data.counts[which]
        chosen = jax.lax.top_k(jnp.where(sizes >= shots + queries, jax.random.uniform(class_key, (clusters,)), -1), ways)[1]
        ranks = jax.random.uniform(example_key, (ways, data.members.shape[2]))
        ranks = jnp.where(jnp.arange(data.members.shape[2])[None] < sizes[chosen][:, None], ranks, -1)
        drawn = jnp.take_along_axis(data.members[which, chosen], jax.lax.top_k(ranks, shots + queries)[1], axis=1)

        def part(rows: jax.Array) -> Batch:
            labels = jnp.broadcast_to(jnp.arange(ways)[:, None], rows.shape)
            return Batch(jax.tree.map(lambda leaf: as_float(leaf[rows.ravel()]), data.x), labels.ravel())

        return Episode(part(drawn[:, :shots]), part(drawn[:, shots:]), jnp.ones(ways, bool))

    return Sampler(data, sample)
