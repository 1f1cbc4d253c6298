"""Metrics of rows against scikit-learn, optax and arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import metrics

reference = pytest.importorskip("sklearn.metrics")

# float32: exponentials and a mean of a few values.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def softmax(logits):
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("labels", [np.int32, np.uint8])
def test_accuracy_is_scikit_learns(labels):
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(50, 4)).astype(np.float32), random.integers(0, 4, 50).astype(labels)
    ours = jax.jit(jmeta.accuracy)(jnp.asarray(logits), jnp.asarray(targets))
    assert (ours.shape, ours.dtype) == ((50,), jnp.float32)
    # A float32 mean of 50 zeros and ones.
    assert float(ours.mean()) == pytest.approx(reference.accuracy_score(targets, logits.argmax(axis=1)), abs=1e-6)


def test_accuracy_of_several_labels_per_row():
    outputs = jnp.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_array_equal(jmeta.accuracy(outputs, jnp.array([[1, 1], [1, 0]])), [[1, 0], [1, 0]])


@pytest.mark.parametrize("targets", [jnp.array([1, 1, 0, 0]), jnp.array([True, True, False, False])], ids=["integers", "booleans"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_accuracy_of_one_logit_is_that_of_its_sign(targets, shape):
    logits = jnp.array([0.5, -0.5, 0.5, 0.0]).reshape(shape)
    np.testing.assert_array_equal(jax.jit(jmeta.accuracy)(logits, targets), [1, 0, 0, 1])
    np.testing.assert_array_equal(jmeta.accuracy(logits[:, None], targets[:, None]), [[1], [0], [0], [1]])


def test_accuracy_of_labels_that_do_not_exclude_each_other():
    random = np.random.default_rng(0)
    outputs, targets = random.normal(size=(50, 3)), random.integers(0, 2, (50, 3))
    ours = jmeta.accuracy(jnp.asarray(outputs), jnp.asarray(targets))
    np.testing.assert_array_equal(ours, (outputs > 0) == targets)
    # scikit-learn counts rows whose labels are all right.
    assert float(ours.all(axis=1).mean()) == pytest.approx(reference.accuracy_score(targets, outputs > 0), abs=1e-6)


def test_a_diverged_model_is_not_right_by_accident():
    outputs = jnp.array([[jnp.nan, jnp.nan], [1.0, 0.0]])
    np.testing.assert_array_equal(jmeta.accuracy(outputs, jnp.array([0, 0])), [jnp.nan, 1])
    np.testing.assert_array_equal(jmeta.accuracy(outputs[:, 0], jnp.array([0, 1])), [jnp.nan, 1])


@pytest.mark.parametrize("metric", [jmeta.accuracy, metrics.negative_log_likelihood])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (jnp.zeros((3, 2)), jnp.zeros(3), "targets must hold integer or boolean labels; got dtype float32"),
        (jnp.zeros((3, 2), int), jnp.zeros(3, int), "outputs must hold floating-point logits.*; got dtype int32"),
        (jnp.zeros((3, 2)), jnp.zeros((3, 1), int), r"shape of the targets .*; got outputs \(3, 2\) and targets \(3, 1\)"),
        (jnp.zeros(3), jnp.zeros((3, 1), int), r"shape of the targets .*; got outputs \(3,\) and targets \(3, 1\)"),
        (jnp.zeros((3, 0)), jnp.zeros(3, int), r"shape of the targets .*; got outputs \(3, 0\) and targets \(3,\)"),
        (jnp.zeros(()), jnp.zeros(3, int), r"shape of the targets .*; got outputs \(\) and targets \(3,\)"),
    ],
)
def test_metrics_of_labels_refuse_what_would_broadcast(metric, outputs, targets, message):
    with pytest.raises(ValueError, match=message):
        metric(outputs, targets)


def test_negative_log_likelihood_is_scikit_learns():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)).astype(np.float32), random.integers(0, 4, 50)
    ours = jax.jit(metrics.negative_log_likelihood)(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(ours.mean(), reference.log_loss(labels, softmax(logits), labels=range(4)), **FLOAT32)
    np.testing.assert_allclose(ours, optax.softmax_cross_entropy_with_integer_labels(logits, labels), **FLOAT32)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("labels", [[1, 0, 1, 0], [True, False, True, False]])
def test_negative_log_likelihood_of_one_logit(shape, labels):
    logits, labels = jnp.array([0.5, -2.0, -90.0, 90.0]), jnp.array(labels)
    ours = metrics.negative_log_likelihood(logits.reshape(shape), labels)
    np.testing.assert_allclose(ours, optax.sigmoid_binary_cross_entropy(logits, labels), **FLOAT32)
    two = metrics.negative_log_likelihood(jnp.stack([jnp.zeros(4), logits], axis=1), labels)
    np.testing.assert_allclose(ours, two, **FLOAT32)


def test_negative_log_likelihood_of_no_class_is_nan():
    labels = jnp.array([-1, 0, 1, 2])
    assert jnp.isnan(metrics.negative_log_likelihood(jnp.zeros((4, 2)), labels)).tolist() == [True, False, False, True]
    assert jnp.isnan(metrics.negative_log_likelihood(jnp.zeros(4), labels)).tolist() == [True, False, False, True]


def test_negative_log_likelihood_of_half_precision_is_computed_in_float32():
    ours = metrics.negative_log_likelihood(jnp.array([[0.0, 8.0]], jnp.bfloat16), jnp.array([1], jnp.uint8))
    # The next bfloat16 is 1.4e-6 away; softplus(-8) in float32.
    np.testing.assert_allclose(ours, [np.log1p(np.exp(-8.0))], **FLOAT32 | {"atol": 1e-7})
    assert ours.dtype == jnp.float32


def test_errors_are_per_entry():
    outputs, targets = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.array([[0.0, 4.0], [3.0, 1.0]])
    np.testing.assert_array_equal(jmeta.squared_error(outputs, targets), [[1, 4], [0, 4]])
    np.testing.assert_array_equal(metrics.absolute_error(outputs, targets), [[1, 2], [0, 2]])


@pytest.mark.parametrize("metric", [jmeta.squared_error, metrics.absolute_error])
def test_errors_refuse_what_would_broadcast(metric):
    with pytest.raises(ValueError, match=r"one shape; got \(3, 1\) and \(3,\)"):
        metric(jnp.zeros((3, 1)), jnp.zeros(3))
