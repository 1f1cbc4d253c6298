"""Prototypical networks against scikit-learn, and their symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

import jmeta

KEY = jax.random.key(0)
IDENTITY = jmeta.Model(
    lambda key, x: {"scale": jnp.ones(x.shape[1])}, lambda params, x, *, key=None, mask=None: x * params["scale"][None]
)
WAYS, SHOTS = 4, 3


def task(seed, rows=WAYS * SHOTS, queries=8):
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % WAYS
    centers = generator.normal(size=(WAYS, 5))
    support = jmeta.Batch(centers[labels] + generator.normal(size=(rows, 5)), labels)
    query_labels = generator.integers(WAYS, size=queries)
    return jmeta.Episode(support, jmeta.Batch(centers[query_labels] + generator.normal(size=(queries, 5)), query_labels))


@pytest.mark.parametrize("rows", [12, 11, 5])
def test_prototypes_and_predictions_are_those_of_scikit_learn(x64, rows):
    """Balanced and unbalanced supports."""
    episode = task(0, rows, queries=50)
    learner = jmeta.prototypical_networks(IDENTITY)
    params = learner.init(KEY, episode)
    prototypes = learner.adapt(params, KEY, episode.support)
    outputs = learner.predict(params, prototypes, jnp.asarray(episode.query.x))
    reference = NearestCentroid().fit(episode.support.x, episode.support.y)
    np.testing.assert_allclose(prototypes, reference.centroids_, rtol=1e-10)
    np.testing.assert_array_equal(outputs.argmax(axis=1), reference.predict(episode.query.x))
    distances = np.square(episode.query.x[:, None] - reference.centroids_[None]).sum(axis=-1)
    np.testing.assert_allclose(outputs, -distances, rtol=1e-10)


def test_gradient_is_finite_where_queries_lie_on_prototypes():
    """Squared distances: a norm would be NaN here."""
    support = jmeta.Batch(jnp.ones((WAYS, 5)), jnp.arange(WAYS))
    learner = jmeta.prototypical_networks(IDENTITY)
    gradient = jax.grad(learner.loss, has_aux=True)({"scale": jnp.ones(5)}, KEY, jmeta.Episode(support, support))[0]
    assert np.isfinite(gradient["scale"]).all()


def loss_and_gradient(learner, episode):
    (loss, _), gradient = jax.value_and_grad(learner.loss, has_aux=True)({"scale": jnp.linspace(0.5, 1.5, 5)}, KEY, episode)
    return loss, gradient["scale"]


LEARNER = jmeta.prototypical_networks(IDENTITY)
EVALUATE = jax.jit(lambda episode: loss_and_gradient(LEARNER, episode))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), order=st.permutations(range(WAYS * SHOTS)))
def test_support_order_does_not_matter(seed, order):
    episode = task(seed)
    order = np.array(order)
    turned = episode._replace(support=jax.tree.map(lambda leaf: leaf[order], episode.support))
    # Sums in another order: float32 rounding of values of order ten.
    for got, expected in zip(EVALUATE(turned), EVALUATE(episode), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), names=st.permutations(range(WAYS)))
def test_renaming_the_classes_permutes_the_prototypes_and_keeps_the_loss(seed, names):
    episode = task(seed)
    names = np.array(names)
    renamed = jmeta.Episode(*(batch._replace(y=names[batch.y]) for batch in episode[:2]))
    for got, expected in zip(EVALUATE(renamed), EVALUATE(episode), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    params = {"scale": jnp.ones(5)}
    prototypes, turned = (LEARNER.adapt(params, KEY, part.support) for part in (episode, renamed))
    np.testing.assert_allclose(turned[names], prototypes, rtol=1e-5, atol=1e-6)


def test_bad_ways_are_refused():
    with pytest.raises(ValueError, match="ways must be at least 1; got 0"):
        jmeta.prototypical_networks(IDENTITY, ways=0)


def test_any_loss_of_logits_and_labels_may_be_used(x64):
    episode = task(0)
    learner = jmeta.prototypical_networks(
        IDENTITY, ways=WAYS, loss_fn=lambda outputs, y: optax.losses.safe_softmax_cross_entropy(outputs, jax.nn.one_hot(y, WAYS))
    )
    np.testing.assert_allclose(loss_and_gradient(learner, episode)[0], loss_and_gradient(LEARNER, episode)[0], rtol=1e-12)
