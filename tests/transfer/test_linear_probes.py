"""Linear heads on features against scikit-learn, and what an encoder makes of examples against one call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

import jmeta
from jmeta import transfer
from tests.transfer.domains import rows

LABELS = np.arange(30) % 3
KEY = jax.random.key(0)


def examples(width=5):
    return rows(30, width, seed=1) + np.eye(3)[LABELS] @ rows(3, width, seed=9)


def applied(head, features):
    return features @ head["kernel"] + head["bias"]


@pytest.mark.parametrize("width", [5, 40])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_ridge_probe_is_that_of_scikit_learn(width, kind):
    """With fewer features than examples and with more, where the other system is solved."""
    targets = LABELS if kind == "labels" else rows(30, 2, seed=4)
    reference = Ridge(0.7).fit(examples(width), np.eye(3)[LABELS] if kind == "labels" else targets)
    head = transfer.ridge_probe(examples(width), targets, regularization=0.7)
    np.testing.assert_allclose(head["kernel"], reference.coef_.T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(head["bias"], reference.intercept_, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_probe_is_at_the_optimum(classes):
    """Where the slope of what it minimises is 0, relative to that at the start."""
    features, labels = examples(), LABELS % classes
    head = transfer.logistic_probe(features, labels, regularization=0.5)

    def slope(head):
        shares = np.exp(applied(head, features))
        wrong = shares / shares.sum(axis=1, keepdims=True) - np.eye(classes)[labels]
        return np.concatenate([(features.T @ wrong + 0.5 * head["kernel"]).ravel(), wrong.sum(axis=0)])

    start = {name: np.zeros_like(leaf) for name, leaf in head.items()}
    assert np.linalg.norm(slope(head)) < 1e-5 * np.linalg.norm(slope(start))


def test_a_logistic_probe_predicts_as_scikit_learn_does():
    head = transfer.logistic_probe(examples(), LABELS, regularization=2.0)
    reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(examples(), LABELS)
    logits = applied(head, examples())
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, reference.predict_proba(examples()), atol=1e-6)


def test_the_nearest_centroid_is_that_of_scikit_learn():
    features, others = examples(), rows(200, 5, seed=3)
    found = applied(transfer.nearest_centroid(features, LABELS), others).argmax(axis=1)
    np.testing.assert_array_equal(found, NearestCentroid().fit(features, LABELS).predict(others))


def test_a_probe_is_the_parameters_of_a_dense_layer():
    head = jmeta.from_linen(linen.Dense(3))
    probe = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), transfer.ridge_probe(examples(), LABELS))
    x = jnp.asarray(examples(), jnp.float32)
    assert jax.tree.map(jnp.shape, head.init(KEY, x)) == jax.tree.map(jnp.shape, probe)
    # Rounding of float32.
    np.testing.assert_allclose(head.apply(probe, x), applied(transfer.ridge_probe(examples(), LABELS), examples()), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_features_are_those_of_one_call_laid_out_in_rows(batch_size):
    encoder = jmeta.from_linen(linen.Conv(3, (2, 2)))
    x = jnp.asarray(rows(10, 12, seed=2).reshape(10, 4, 3, 1), jnp.float32)
    params = encoder.init(KEY, x)
    found = transfer.features(encoder, params, x, batch_size=batch_size)
    # Convolutions of other numbers of rows round otherwise.
    np.testing.assert_allclose(found, encoder.apply(params, x).reshape(10, -1), rtol=1e-5, atol=1e-6)


SUM = jmeta.from_functions(lambda key, x: jnp.ones(()), lambda params, x: x.sum())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: transfer.ridge_probe(examples(), LABELS[:-1]), "targets must hold one row"),
        (lambda: transfer.ridge_probe(examples(), LABELS, regularization=0.0), "regularization must be positive"),
        (lambda: transfer.ridge_probe(examples() / 0.0 * 0.0, LABELS), "features must"),
        (lambda: transfer.nearest_centroid(examples(), LABELS + 1), r"labels must be 0, ..., classes - 1.*got \[1, 2, 3\]"),
        (lambda: transfer.logistic_probe(examples(), LABELS * 0), "labels must be of two classes"),
        (lambda: transfer.nearest_centroid(examples(), LABELS + 0.5), "labels must hold one integer label"),
        (lambda: transfer.features(SUM, jnp.ones(()), examples()), "encoder must give one array"),
        (lambda: transfer.features(linen.Dense(1), {}, examples()), "encoder must be a Model"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value|divide by zero")
def test_bad_input_gets_a_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()
