"""Prototypical networks against scikit-learn and the naive form, their symmetries, and what they keep in memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

import jmeta
from jmeta import _distances
from jmeta._distances import squared_distances

KEY = jax.random.key(0)
SCALES = jmeta.Model(
    lambda key, x: {"scale": jnp.ones(x.shape[1])}, lambda params, x, *, key=None, mask=None: x * params["scale"][None]
)
LEARNER = jmeta.prototypical_networks(SCALES)
PARAMS = {"scale": np.linspace(0.5, 1.5, 5)}
WAYS, SHOTS = 4, 3
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def task(seed, rows=WAYS * SHOTS, queries=8, ways=WAYS):
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % ways
    centers = generator.normal(size=(ways, 5))
    support = jmeta.Batch(centers[labels] + generator.normal(size=(rows, 5)), labels)
    query_labels = generator.integers(ways, size=queries)
    query = jmeta.Batch(centers[query_labels] + generator.normal(size=(queries, 5)), query_labels)
    return jmeta.Episode(support, query, np.ones(ways, bool))


@jax.jit
def loss_and_gradient(params, episode):
    (loss, _), gradient = jax.value_and_grad(LEARNER.loss, has_aux=True)(params, KEY, episode)
    return loss, gradient


@pytest.mark.parametrize("rows", [12, 11, 5])
def test_prototypes_and_predictions_are_those_of_scikit_learn(x64, rows):
    """Balanced and unbalanced supports."""
    episode = task(0, rows, queries=50)
    params = LEARNER.init(KEY, episode)
    prototypes = LEARNER.adapt(params, KEY, episode.support, classes=episode.classes)
    outputs = LEARNER.predict(params, prototypes, jnp.asarray(episode.query.x))
    reference = NearestCentroid().fit(episode.support.x, episode.support.y)
    np.testing.assert_allclose(prototypes, reference.centroids_, rtol=1e-10)
    np.testing.assert_array_equal(outputs.argmax(axis=1), reference.predict(episode.query.x))
    distances = np.square(episode.query.x[:, None] - reference.centroids_[None]).sum(axis=-1)
    np.testing.assert_allclose(outputs, -distances, rtol=1e-10)


def naive_loss(params, episode):
    """Means class by class, differences of all pairs."""
    features, queries = (batch.x * params["scale"][None] for batch in (episode.support, episode.query))
    prototypes = jnp.stack([features[episode.support.y == way].mean(axis=0) for way in range(WAYS)])
    return cross_entropy(-jnp.square(queries[:, None] - prototypes[None]).sum(axis=-1), episode.query.y).mean()


def test_loss_and_gradient_are_those_of_the_naive_form(x64):
    episode = task(0)
    expected = jax.jit(jax.value_and_grad(lambda params: naive_loss(params, episode)))(PARAMS)
    chex.assert_trees_all_close(loss_and_gradient(PARAMS, episode), expected, rtol=1e-10)


def derivatives(distances, x, y, along):
    """First and second derivatives of distances in reverse, forward, and both."""

    def total(x, y):
        # Not linear in the distances, so that their second derivatives are not all there is.
        return (jnp.sin(distances(x, y) / 10) * along).sum()

    directions = (jnp.cos(x), jnp.sin(y))
    first = jax.grad(total, argnums=(0, 1))
    forward = jax.jvp(distances, (x, y), directions)
    forward_over_reverse = jax.jvp(first, (x, y), directions)[1]
    reverse_over_reverse = jax.grad(lambda x, y: optax.tree.vdot(first(x, y), directions), argnums=(0, 1))(x, y)
    return first(x, y), forward, forward_over_reverse, reverse_over_reverse


# Of float32 only what the sums round: the products alone would lose everything behind the offset, 1e8 against distances of 10.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_derivatives_of_distances_are_those_of_their_differences(x64, dtype, tolerance, offset):
    draw = np.random.default_rng(0).normal
    x, y = ((offset + draw(size=(rows, 5))).astype(dtype) for rows in (7, 4))
    y[0] = x[0]
    along = draw(size=(7, 4)).astype(dtype)
    got = jax.jit(lambda *arrays: derivatives(squared_distances, *arrays))(x, y, along)
    exact = [np.asarray(leaf, np.float64) for leaf in (x, y, along)]
    expected = jax.jit(lambda *arrays: derivatives(lambda x, y: jnp.square(x[:, None] - y[None]).sum(axis=-1), *arrays))(*exact)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("at_once", [1, 45, 140])
def test_distances_that_are_formed_in_pieces_are_those_formed_at_once(x64, monkeypatch, at_once):
    """One row at a time, two with one left over, all."""
    monkeypatch.setattr(_distances, "AT_ONCE", at_once)
    x, y = (np.random.default_rng(0).normal(size=(rows, 5)) for rows in (7, 4))
    np.testing.assert_allclose(squared_distances(x, y), np.square(x[:, None] - y[None]).sum(axis=-1), rtol=1e-14)


def test_memory_of_the_gradient_grows_with_rows_and_classes_and_not_with_their_product():
    """400 ways, 400 queries, 512 features: all differences would be 328 MB."""
    rows = jmeta.Batch(jax.ShapeDtypeStruct((400, 512), jnp.float32), jax.ShapeDtypeStruct((400,), jnp.int32))
    episode = jmeta.Episode(rows, rows, jax.ShapeDtypeStruct((400,), bool))
    params = {"scale": jax.ShapeDtypeStruct((512,), jnp.float32)}
    assert loss_and_gradient.lower(params, episode).compile().memory_analysis().temp_size_in_bytes < 40e6


def test_gradient_is_finite_where_queries_lie_on_prototypes():
    """Squared distances: a norm would be NaN here."""
    support = jmeta.Batch(jnp.ones((WAYS, 5)), jnp.arange(WAYS))
    chex.assert_tree_all_finite(loss_and_gradient(PARAMS, jmeta.Episode(support, support, jnp.ones(WAYS, bool))))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), order=st.permutations(range(WAYS * SHOTS)))
def test_support_order_does_not_matter(seed, order):
    episode = task(seed)
    turned = episode._replace(support=jax.tree.map(lambda leaf: leaf[np.array(order)], episode.support))
    # Sums in another order: float32 rounding of values of order ten.
    chex.assert_trees_all_close(loss_and_gradient(PARAMS, turned), loss_and_gradient(PARAMS, episode), rtol=1e-4, atol=1e-5)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), names=st.permutations(range(WAYS)))
def test_renaming_the_classes_permutes_the_prototypes_and_keeps_the_loss(seed, names):
    episode, names = task(seed), np.array(names)
    support, query = (batch._replace(y=names[batch.y]) for batch in episode[:2])
    renamed = episode._replace(support=support, query=query)
    chex.assert_trees_all_close(loss_and_gradient(PARAMS, renamed), loss_and_gradient(PARAMS, episode), rtol=1e-4, atol=1e-5)
    prototypes, turned = (prototypes_of(part) for part in (episode, renamed))
    np.testing.assert_allclose(turned[names], prototypes, rtol=1e-5, atol=1e-6)


@jax.jit
def prototypes_of(episode):
    return LEARNER.adapt({"scale": jnp.ones(5)}, KEY, episode.support, classes=episode.classes)


def test_one_learner_knows_tasks_of_any_number_of_ways(x64):
    wide, narrow = task(0, rows=24, ways=8), task(1, rows=4, ways=2)
    params = LEARNER.init(KEY, wide)
    step = jax.jit(jmeta.make_step(jmeta.over_tasks(LEARNER.loss), optax.sgd(0.01)))
    tasks = jax.tree.map(lambda leaf: leaf[None], wide._replace(task=np.int32(0)))
    state, metrics = step(jmeta.init_state(params, optax.sgd(0.01), KEY), tasks)
    np.testing.assert_allclose(metrics["loss"], loss_and_gradient(params, wide)[0], rtol=1e-12)
    sampler = jmeta.Sampler((), lambda data, key: jax.tree.map(jnp.asarray, narrow))
    found = jmeta.evaluate(LEARNER, state.params, sampler, metric=jmeta.accuracy, episodes=2)
    assert found.sizes == {"support": 4, "query": 8, "ways": 2}
    scales = np.asarray(state.params["scale"])
    expected = NearestCentroid().fit(narrow.support.x * scales, narrow.support.y)
    np.testing.assert_allclose(found.values, expected.score(narrow.query.x * scales, narrow.query.y), rtol=1e-12)


def test_weights_of_the_support_count_as_repeated_rows_do(x64):
    episode = task(0)
    counts = np.arange(WAYS * SHOTS) % 3
    weighted = episode._replace(support=episode.support._replace(weights=counts.astype(float)))
    repeated = episode._replace(support=jax.tree.map(lambda leaf: np.repeat(leaf, counts, axis=0), episode.support))
    chex.assert_trees_all_close(loss_and_gradient(PARAMS, weighted), loss_and_gradient(PARAMS, repeated), rtol=1e-12)
    # Rows that count nothing are there: the mean of what counts is not that of all.
    assert np.abs(prototypes_of(weighted) - prototypes_of(episode)).max() > 0.1


def test_a_class_without_support_is_refused_where_it_can_be_seen_and_finite_where_not():
    episode = task(0)
    lacking = episode._replace(support=episode.support._replace(y=episode.support.y % 3))
    with pytest.raises(ValueError, match="support must hold an example of every class; got none of 3"):
        LEARNER.init(KEY, lacking)
    masked = episode._replace(support=episode.support._replace(mask=episode.support.y < 2))
    with pytest.raises(ValueError, match="support must hold an example of every class; got none of 2, 3"):
        LEARNER.init(KEY, masked)
    chex.assert_tree_all_finite(loss_and_gradient(PARAMS, lacking))
    np.testing.assert_array_equal(prototypes_of(lacking)[3], 0)
    # A class that is not marked needs none, and whoever asks for it does not count.
    known = np.arange(WAYS) < 3
    LEARNER.init(KEY, lacking._replace(classes=known, query=lacking.query._replace(y=lacking.query.y % 3)))
    rows = episode.query.y < 3
    unmarked, left_out = (
        lacking._replace(classes=known),
        lacking._replace(classes=known)._replace(query=jax.tree.map(lambda leaf: leaf[rows], lacking.query)),
    )
    chex.assert_trees_all_close(loss_and_gradient(PARAMS, unmarked), loss_and_gradient(PARAMS, left_out), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": None}, r"classes must mark the classes of the task, \[ways\], for a learner that compares classes; got None"),
        ({"classes": np.ones(3, bool)}, "support.y must hold labels 0, ..., 2, one per output of the learner; got label 3"),
    ],
)
def test_tasks_without_their_classes_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        LEARNER.init(KEY, task(0)._replace(**change))


def test_a_network_without_wrapper_is_refused():
    with pytest.raises(ValueError, match="encoder must be a Model; got function"):
        jmeta.prototypical_networks(lambda x: x)


def test_any_loss_of_logits_and_labels_may_be_used(x64):
    episode = task(0)
    learner = jmeta.prototypical_networks(
        SCALES, loss_fn=lambda outputs, y: optax.losses.safe_softmax_cross_entropy(outputs, jax.nn.one_hot(y, WAYS))
    )
    (loss, _), gradient = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(PARAMS, KEY, episode)
    chex.assert_trees_all_close((loss, gradient), loss_and_gradient(PARAMS, episode), rtol=1e-12)
