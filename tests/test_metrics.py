"""Metrics against scikit-learn and arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta


def test_accuracy_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)).astype(np.float32), random.integers(0, 4, 50)
    ours = jax.jit(jmeta.accuracy)(jnp.asarray(logits), jnp.asarray(labels))
    assert (ours.shape, ours.dtype) == ((50,), jnp.float32)
    # A float32 mean of 50 zeros and ones.
    assert float(ours.mean()) == pytest.approx(metrics.accuracy_score(labels, logits.argmax(axis=1)), abs=1e-6)


def test_accuracy_of_several_labels_per_row():
    outputs = jnp.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_array_equal(jmeta.accuracy(outputs, jnp.array([[1, 1], [1, 0]])), [[1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (jnp.zeros(3), "targets must hold integer labels; got dtype float32"),
        (jnp.zeros((3, 1), int), r"a label per row of outputs; got targets \(3, 1\) and outputs \(3, 2\)|one label per row"),
    ],
)
def test_accuracy_refuses_what_would_broadcast(targets, message):
    with pytest.raises(ValueError, match=message):
        jmeta.accuracy(jnp.zeros((3, 2)), targets)


def test_squared_error_is_per_entry():
    outputs, targets = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.array([[0.0, 4.0], [3.0, 1.0]])
    np.testing.assert_array_equal(jmeta.squared_error(outputs, targets), [[1, 4], [0, 4]])


def test_squared_error_refuses_what_would_broadcast():
    with pytest.raises(ValueError, match=r"one shape; got \(3, 1\) and \(3,\)"):
        jmeta.squared_error(jnp.zeros((3, 1)), jnp.zeros(3))
