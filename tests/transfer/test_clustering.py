"""Scores of clusters against scikit-learn and by trying all assignments; deep clustering by the formulas in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

import jmeta
from jmeta import Batch, transfer
from tests.transfer.domains import KEY, dense, rows

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 4, 60)
CLUSTERS = {
    "at random": RANDOM.integers(0, 4, 60),
    "noisy": np.where(RANDOM.random(60) < 0.7, LABELS, RANDOM.integers(0, 4, 60)),
    "the classes by other numbers": 10 - 3 * LABELS,
    "fewer": LABELS // 2,
    "more": 10 * LABELS + RANDOM.integers(0, 2, 60),
    "one": np.zeros(60, int),
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_mutual_information_and_rand_index_are_scikit_learn_s(name):
    given = CLUSTERS[name], LABELS
    expected = metrics.normalized_mutual_info_score(*given)
    np.testing.assert_allclose(transfer.normalized_mutual_information(*given), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(transfer.adjusted_rand_index(*given), metrics.adjusted_rand_score(*given), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["at random", "noisy", "the classes by other numbers", "fewer", "one"])
def test_clustering_accuracy_is_the_best_of_all_assignments(name):
    clusters, best = CLUSTERS[name], 0.0
    for classes in itertools.permutations(range(4), len(np.unique(clusters))):
        told = dict(zip(np.unique(clusters), classes, strict=True))
        best = max(best, np.mean([told[cluster] == label for cluster, label in zip(clusters, LABELS, strict=True)]))
    np.testing.assert_allclose(transfer.clustering_accuracy(clusters, LABELS), best, rtol=1e-12)


def test_all_alike_agree():
    for score in (transfer.clustering_accuracy, transfer.normalized_mutual_information, transfer.adjusted_rand_index):
        assert score([3, 3], [1, 1]) == 1
        assert score([3], [1]) == 1
        with pytest.raises(ValueError, match="clusters must hold at least one example; got none"):
            score([], [])
        with pytest.raises(ValueError, match=r"labels must hold one integer label per example, \[2\]; got int64\[3\]"):
            score([0, 1], [0, 1, 2])


def blobs(count=90, spread=0.3):
    """Three of them in a plane, far apart for their width."""
    labels = np.arange(count) % 3
    centres = np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    return (centres[labels] + spread * rows(count, 2, seed=5)).astype(np.float32), labels


def test_k_means_finds_what_is_apart():
    x, labels = blobs()
    found = transfer.k_means(x, 3, restarts=3)
    assert transfer.clustering_accuracy(found.assignment, labels) == 1
    means = np.stack([x[found.assignment == cluster].mean(axis=0) for cluster in range(3)])
    np.testing.assert_allclose(found.centroids, means, atol=1e-5)
    with pytest.raises(ValueError, match="clusters must be at most the number of examples; got clusters=91 and 90"):
        transfer.k_means(x, 91)


def shares_of(features, centroids):
    close = 1 / (1 + ((features[:, None] - centroids[None]) ** 2).sum(axis=-1))
    return close / close.sum(axis=1, keepdims=True)


def test_the_objective_is_the_divergence_and_the_reconstruction(x64):
    encoder, decoder = dense(2, jnp.tanh), dense(3)
    x, mask = rows(6, 3), np.arange(6) != 2
    params = transfer.ClusterParams(
        jnp.asarray(rows(3, 2, seed=2)), jnp.asarray(rows(4, 2, seed=3)), jnp.asarray(rows(2, 3, seed=4))
    )
    features = np.tanh(x @ params.encoder)
    shares = shares_of(features, np.asarray(params.centroids))
    model = transfer.deep_embedded_clustering(encoder, decoder, share=0.3)
    np.testing.assert_allclose(model.assign(params, jnp.asarray(x)), shares, rtol=1e-10)
    squares = shares**2 / shares.sum(axis=0)
    targets = squares / squares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.targets(shares), targets, rtol=1e-10)
    divergence = (targets * np.log(targets / shares)).sum(axis=1)[mask].mean()
    rebuilt = ((features @ params.decoder - x) ** 2)[mask].mean()
    batch = Batch(jnp.asarray(x).at[2].set(jnp.nan), jnp.asarray(targets), mask)
    value, _ = jax.jit(model.objective)(params, KEY, batch)
    np.testing.assert_allclose(value, rebuilt + 0.3 * divergence, rtol=1e-10)
    plain = transfer.deep_embedded_clustering(encoder)
    value, slopes = jax.jit(jax.value_and_grad(lambda params: plain.objective(params, KEY, batch)[0]))(params)
    np.testing.assert_allclose(value, divergence, rtol=1e-10)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_refining_makes_clusters_tighter_than_k_means():
    """In features that a fifth of the examples lies between."""
    x, labels = blobs(spread=0.9)
    model = transfer.deep_embedded_clustering(dense(2))
    params, start = transfer.start_clusters(model, jnp.eye(2), x, 3, restarts=3)
    np.testing.assert_allclose(params.centroids, start.centroids, rtol=1e-6)
    before = np.asarray(model.assign(params, x)).max(axis=1).mean()
    refined, found = transfer.refine_clusters(model, params, x, optax.adam(0.03), stages=6, steps=40, batch_size=30, tolerance=0.0)
    after = np.asarray(model.assign(refined, x))
    np.testing.assert_array_equal(found, after.argmax(axis=1))
    assert after.max(axis=1).mean() > before + 0.05
    assert transfer.clustering_accuracy(found, labels) >= transfer.clustering_accuracy(start.assignment, labels) - 0.02


def test_what_cannot_be_clustered_is_refused():
    model, params = (
        transfer.deep_embedded_clustering(dense(2), dense(4)),
        transfer.ClusterParams(*map(jnp.ones, ((3, 2), (4, 2), (2, 4)))),
    )
    x = jnp.ones((5, 3))
    with pytest.raises(ValueError, match=r"y must hold a share of each cluster per example, \[n, 4\]; got nothing"):
        model.objective(params, KEY, Batch(x, None))
    with pytest.raises(ValueError, match=r"decoder must give what the encoder takes, float32\[5, 3\]; got float32\[5, 4\]"):
        model.objective(params, KEY, Batch(x, jnp.ones((5, 4)) / 4))
    with pytest.raises(ValueError, match=r"tolerance must be from 0 to 1; got 2"):
        transfer.refine_clusters(model, params, x, optax.sgd(0.1), stages=1, tolerance=2)


def test_tasks_are_made_of_clusters():
    x, labels = blobs()
    sampler = transfer.cactus(x, x, clusters=3, ways=2, shots=1, queries=4, partitions=3)
    episodes = jax.jit(jax.vmap(lambda key: sampler.sample(sampler.data, key)))(jax.random.split(KEY, 20))
    assert episodes.support.x.shape == (20, 2, 2)
    assert episodes.query.x.shape == (20, 8, 2)
    np.testing.assert_array_equal(episodes.query.y[0], np.repeat([0, 1], 4))
    assert episodes.classes.all()
    told = {tuple(row): label for row, label in zip(x.tolist(), labels, strict=True)}
    for support, query in zip(np.asarray(episodes.support.x), np.asarray(episodes.query.x), strict=True):
        classes = [told[tuple(row)] for row in support.tolist()]
        found = [told[tuple(row)] for row in query.tolist()]
        # The clusters of the features as they are, and of most scales of them, are the classes.
        assert len({tuple(row) for row in [*support.tolist(), *query.tolist()]}) == 10
        if len(set(classes)) == 2:
            assert np.mean(np.repeat(classes, 4) == found) >= 0.5
    jmeta.check_episode(jax.tree.map(lambda leaf: leaf[0], episodes))


def test_one_partition_of_features_as_they_are_has_the_classes_as_tasks():
    x, labels = blobs()
    sampler = transfer.cactus(
        {"image": (255 * (x > 0)).astype(np.uint8), "row": x}, x, clusters=3, ways=3, shots=2, queries=3, partitions=1
    )
    told = {tuple(row): label for row, label in zip(x.tolist(), labels, strict=True)}
    episode = jax.jit(sampler.sample)(sampler.data, KEY)
    assert episode.support.x["image"].max() == 1
    support, query = ([told[tuple(row)] for row in part.x["row"].tolist()] for part in (episode.support, episode.query))
    np.testing.assert_array_equal(np.reshape(support, (3, 2))[:, :1] == np.reshape(query, (3, 3)), True)
    assert len(set(support)) == 3


def test_clusters_that_are_too_small_are_refused():
    x, _ = blobs()
    with pytest.raises(
        ValueError, match="clusters must leave each partition 4 clusters of 1 \\+ 4 examples; got 3 of 3 in partition 0"
    ):
        transfer.cactus(x, x, clusters=3, ways=4, shots=1, queries=4, partitions=1)
    with pytest.raises(ValueError, match=r"features must have one row for each of x; got 80 rows for x \(90, 2\)"):
        transfer.cactus(x, x[:80], clusters=3, ways=2, shots=1, queries=4)
