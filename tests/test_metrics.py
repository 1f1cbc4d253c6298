"""Metrics of rows and of sets of rows, against scikit-learn, naive loops and published tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jmeta
from jmeta import metrics

reference = pytest.importorskip("sklearn.metrics")

# float64 sums of at most a few hundred terms in another order.
SUMS = {"rel": 1e-10, "abs": 1e-12}
# float32: exponentials and a mean of a few values.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
ROWS = 120

DECISIONS = {
    name: (getattr(metrics, name), getattr(reference, f"{name}_score", getattr(reference, name, None)))
    for name in ("precision", "recall", "f1_score")
}
CLASSIFICATION = {
    **{name: function for name, (function, _) in DECISIONS.items()},
    **{f"{name}, micro": functools.partial(function, average="micro") for name, (function, _) in DECISIONS.items()},
    "roc_auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "calibration_error": metrics.calibration_error,
}
REGRESSION = {
    "r2_score": metrics.r2_score,
    "explained_variance": metrics.explained_variance,
    "root_mean_squared_error": metrics.root_mean_squared_error,
}
SET_METRICS = {
    **{(name, kind): metric for name, metric in CLASSIFICATION.items() for kind in ("binary", "classes", "labels")},
    **{("mean_iou", kind): metrics.mean_iou for kind in ("binary", "classes")},
    **{(name, kind): metric for name, metric in REGRESSION.items() for kind in ("number", "numbers")},
}


def example(kind, seed=0, rows=ROWS):
    """Outputs and targets; scores are rounded, so that many are equal."""
    random = np.random.default_rng(seed)
    shape = {"binary": (rows,), "number": (rows,), "numbers": (rows, 3), "labels": (rows, 3), "classes": (rows, 5)}[kind]
    outputs = random.normal(size=shape).round(1)
    if kind in ("number", "numbers"):
        return outputs, outputs + random.normal(0.3, 0.7, shape)
    if kind == "classes":
        # Class 3 is no target, class 4 is not predicted.
        outputs[:, 4] -= 9
        return outputs, random.choice([0, 1, 2, 4], rows)
    return outputs, (outputs + random.normal(size=shape) > 0.2).astype(int)


def sample_weights(kind, seed=1, rows=ROWS):
    random = np.random.default_rng(seed)
    return {"none": None, "real": random.uniform(0.1, 2, rows), "whole": random.integers(1, 4, rows)}[kind]


def decided(outputs, kind):
    return outputs.argmax(axis=1) if kind == "classes" else (outputs > 0).astype(int)


def softmax(logits):
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


# Rows


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
    outputs, targets = example("labels")
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


# All rows at once


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("kind", ["binary", "classes", "labels"])
@pytest.mark.parametrize("name", DECISIONS)
def test_decisions_are_scikit_learns(name, kind, average, weighting):
    ours, theirs = DECISIONS[name]
    (outputs, targets), weights = example(kind), sample_weights(weighting)
    theirs_average = "binary" if kind == "binary" else average
    expected = theirs(targets, decided(outputs, kind), average=theirs_average, sample_weight=weights, zero_division=0)
    assert ours(outputs, targets, weights, average=average) == pytest.approx(expected, **SUMS)


@pytest.mark.parametrize("name", DECISIONS)
@pytest.mark.parametrize(("outputs", "targets"), [([-1.0, -1.0], [0, 1]), ([1.0, 1.0], [0, 0]), ([-1.0, -1.0], [0, 0])])
def test_a_share_of_nothing_is_0(name, outputs, targets):
    ours, theirs = DECISIONS[name]
    expected = theirs(targets, np.array(outputs) > 0, zero_division=0)
    assert ours(outputs, targets) == expected == ours(outputs, targets, average="micro")


@pytest.mark.parametrize("name", DECISIONS)
def test_two_logits_are_two_classes(name):
    ours, theirs = DECISIONS[name]
    logits, targets = example("binary")
    outputs = np.stack([np.zeros_like(logits), logits], axis=1)
    assert ours(outputs, targets) == pytest.approx(theirs(targets, logits > 0, average="macro", zero_division=0), **SUMS)


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
@pytest.mark.parametrize("kind", ["binary", "labels"])
def test_rankings_with_ties_are_scikit_learns(kind, weighting):
    (outputs, targets), weights = example(kind), sample_weights(weighting)
    assert len(np.unique(outputs)) < outputs.size / 2
    expected = reference.roc_auc_score(targets, outputs, sample_weight=weights)
    assert metrics.roc_auc(outputs, targets, weights) == pytest.approx(expected, **SUMS)
    expected = reference.average_precision_score(targets, outputs, sample_weight=weights)
    assert metrics.average_precision(outputs, targets, weights) == pytest.approx(expected, **SUMS)


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
def test_rankings_of_classes_are_scikit_learns_one_against_the_rest(weighting):
    outputs, weights = example("classes")[0], sample_weights(weighting)
    targets = np.random.default_rng(2).integers(0, 5, ROWS)
    probabilities = softmax(outputs)
    expected = reference.roc_auc_score(targets, probabilities, multi_class="ovr", sample_weight=weights)
    assert metrics.roc_auc(outputs, targets, weights) == pytest.approx(expected, **SUMS)
    expected = reference.average_precision_score(targets, probabilities, sample_weight=weights)
    assert metrics.average_precision(outputs, targets, weights) == pytest.approx(expected, **SUMS)


def test_rankings_leave_out_classes_without_an_entry():
    outputs, targets = example("classes")
    probabilities, present = softmax(outputs), [0, 1, 2, 4]
    areas = [reference.roc_auc_score(targets == way, probabilities[:, way]) for way in present]
    assert metrics.roc_auc(outputs, targets) == pytest.approx(np.mean(areas), **SUMS)
    precisions = [reference.average_precision_score(targets == way, probabilities[:, way]) for way in present]
    assert metrics.average_precision(outputs, targets) == pytest.approx(np.mean(precisions), **SUMS)


def test_area_is_the_share_of_pairs_in_order():
    outputs, targets = example("binary", rows=40)
    pairs = [(x > y) + (x == y) / 2 for x in outputs[targets == 1] for y in outputs[targets == 0]]
    assert metrics.roc_auc(outputs, targets) == pytest.approx(np.mean(pairs), **SUMS)
    assert metrics.roc_auc(outputs, 1 - targets) == pytest.approx(1 - np.mean(pairs), **SUMS)


def test_rankings_of_one_class_are_undefined():
    scores = np.array([0.5, 1.0])
    assert np.isnan(metrics.roc_auc(scores, [1, 1]))
    assert np.isnan(metrics.roc_auc(scores, [0, 0]))
    assert np.isnan(metrics.average_precision(scores, [0, 0]))
    assert metrics.average_precision(scores, [1, 1]) == 1


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("kind", ["number", "numbers"])
def test_regression_is_scikit_learns(name, kind, weighting):
    theirs = getattr(reference, {"explained_variance": "explained_variance_score"}.get(name, name))
    (outputs, targets), weights = example(kind), sample_weights(weighting)
    assert REGRESSION[name](outputs, targets, weights) == pytest.approx(theirs(targets, outputs, sample_weight=weights), **SUMS)


@pytest.mark.parametrize("metric", [metrics.r2_score, metrics.explained_variance])
def test_constant_targets_explain_nothing(metric):
    outputs, targets = example("numbers")
    # A mean of many 0.1 is not 0.1.
    targets[:, 1] = 0.1
    assert np.isnan(metric(outputs[:, 1], targets[:, 1]))
    assert metric(outputs, targets) == pytest.approx(metric(outputs[:, [0, 2]], targets[:, [0, 2]]), **SUMS)
    assert np.isnan(metric(outputs[:1], targets[:1]))


def test_explained_variance_forgives_an_offset():
    outputs, targets = example("number")
    assert metrics.explained_variance(outputs + 5, targets) == pytest.approx(metrics.explained_variance(outputs, targets), **SUMS)
    assert (
        metrics.r2_score(outputs + 5, targets) < metrics.r2_score(outputs, targets) < metrics.explained_variance(outputs, targets)
    )


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_mean_iou_is_scikit_learns(kind, weighting):
    (outputs, targets), weights = example(kind), sample_weights(weighting)
    expected = reference.jaccard_score(targets, decided(outputs, kind), average="macro", sample_weight=weights, zero_division=0)
    assert metrics.mean_iou(outputs, targets, weights) == pytest.approx(expected, **SUMS)


def test_mean_iou_of_images_without_void_and_without_absent_classes():
    random = np.random.default_rng(0)
    # Nobody predicts class 6, and no pixel is of it.
    outputs, targets = random.normal(size=(4, 5, 6, 7)) - 99 * (np.arange(7) == 6), random.integers(0, 6, (4, 5, 6))
    targets[random.uniform(size=targets.shape) < 0.3] = 255
    outputs[targets == 255] = np.nan
    kept, found = targets != 255, outputs.argmax(axis=-1)
    shares = [((found == way) & (targets == way)).sum() / (((found == way) & kept) | (targets == way)).sum() for way in range(6)]
    assert metrics.mean_iou(outputs, targets, void=255) == pytest.approx(np.mean(shares), **SUMS)
    assert metrics.mean_iou(outputs, targets, kept) == pytest.approx(np.mean(shares), **SUMS)
    with pytest.raises(ValueError, match=r"labels 0, \.\.\., 6 where weights are above 0; got label 255"):
        metrics.mean_iou(outputs, targets)


def naive_calibration_error(confidence, right, weights, bins):
    total = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        if inside.any():
            accuracy = np.average(right[inside], weights=weights[inside])
            gap = abs(accuracy - np.average(confidence[inside], weights=weights[inside]))
            total += weights[inside].sum() / weights.sum() * gap
    return total


@pytest.mark.parametrize("weighting", ["none", "real", "whole"])
@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.parametrize("kind", ["binary", "classes", "labels"])
def test_calibration_error_is_a_naive_loop(kind, bins, weighting):
    (outputs, targets), weights = example(kind), sample_weights(weighting)
    spread = (
        np.ones(targets.shape)
        if weights is None
        else np.broadcast_to(weights.reshape(-1, *[1] * (targets.ndim - 1)), targets.shape)
    )
    if kind == "classes":
        confidence, right = softmax(outputs).max(axis=1), outputs.argmax(axis=1) == targets
    else:
        confidence, right = 1 / (1 + np.exp(-abs(outputs))), (outputs > 0) == targets
    expected = naive_calibration_error(confidence, right, spread, bins)
    assert metrics.calibration_error(outputs, targets, weights, bins=bins) == pytest.approx(expected, **SUMS)


def test_bins_are_closed_above():
    # Confidences 1/2 (right) and 3/4 (wrong), bins (1/4, 1/2] and (1/2, 3/4]; were they closed below, 3/4 would stand alone too,
    # but 1/2 would share a bin with 0.6.
    logits = np.log([[1.0, 1.0], [1.0, 3.0], [2.0, 3.0]])
    expected = (abs(1 - 0.5) + abs((0 + 1) - (0.75 + 0.6))) / 3
    assert metrics.calibration_error(logits, np.array([0, 0, 1]), bins=4) == pytest.approx(expected, **SUMS)


def test_a_calibration_error_or_an_area_averaged_over_episodes_is_another_number():
    random = np.random.default_rng(0)
    # A calibrated model on 100 episodes of 20 rows, some of them easier than others.
    logits = random.normal(0, 1, (100, 20)) + random.normal(0, 2, (100, 1))
    targets = (random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    pooled = metrics.calibration_error(logits.ravel(), targets.ravel())
    averaged = np.mean([metrics.calibration_error(*episode) for episode in zip(logits, targets, strict=True)])
    # The model is calibrated: a bin of about 130 rows is off by 0.04 at most, one of 2 or 3 rows by much more.
    assert pooled < 0.04
    assert averaged > 3 * pooled
    pooled = metrics.roc_auc(logits.ravel(), targets.ravel())
    averaged = np.nanmean([metrics.roc_auc(*episode) for episode in zip(logits, targets, strict=True)])
    # The standard error of an area of 2000 rows is below 0.01.
    assert abs(pooled - averaged) > 0.02


def repeated(values, counts):
    return np.repeat(values, counts, axis=0)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@pytest.mark.parametrize(("name", "kind"), SET_METRICS)
def test_a_whole_weight_is_so_many_rows(name, kind, seed, rows):
    metric = SET_METRICS[name, kind]
    outputs, targets = example(kind, seed, rows)
    counts = np.random.default_rng(seed).integers(0, 4, rows)
    expected = metric(repeated(outputs, counts), repeated(targets, counts))
    assert metric(outputs, targets, counts) == pytest.approx(expected, **SUMS, nan_ok=True)
    assert metric(outputs, targets, counts / 3) == pytest.approx(expected, **SUMS, nan_ok=True)


@pytest.mark.parametrize("absent", [np.nan, np.inf])
@pytest.mark.parametrize(("name", "kind"), SET_METRICS)
def test_absent_entries_do_not_matter(name, kind, absent):
    metric = SET_METRICS[name, kind]
    (outputs, targets), weights = example(kind), sample_weights("real")
    expected = metric(outputs[::2], targets[::2], weights[::2])
    outputs[1::2], targets[1::2], weights[1::2] = absent, absent if kind in ("number", "numbers") else -7, 0
    assert metric(outputs, targets, weights) == pytest.approx(expected, **SUMS)
    whole = np.broadcast_to(weights.reshape(-1, *[1] * (targets.ndim - 1)), targets.shape)
    assert metric(outputs, targets, whole) == pytest.approx(expected, **SUMS)


@pytest.mark.parametrize("name", [*DECISIONS, "roc_auc", "average_precision", *REGRESSION])
def test_absent_entries_of_single_columns_do_not_matter(name):
    metric = {**CLASSIFICATION, **REGRESSION}[name]
    kind = "numbers" if name in REGRESSION else "labels"
    outputs, targets = example(kind)
    weights = np.random.default_rng(3).integers(0, 3, targets.shape)
    columns = [metric(outputs[:, k], targets[:, k], weights[:, k]) for k in range(3)]
    outputs[weights == 0] = np.nan
    targets[weights == 0] = np.nan if kind == "numbers" else -1
    assert metric(outputs, targets, weights) == pytest.approx(np.mean(columns), **SUMS)
    # A label that is nowhere known is left out.
    weights[:, 1] = 0
    assert metric(outputs, targets, weights) == pytest.approx((columns[0] + columns[2]) / 2, **SUMS)


@pytest.mark.parametrize(("name", "kind"), SET_METRICS)
def test_without_entries_a_metric_is_undefined(name, kind):
    outputs, targets = example(kind)
    assert np.isnan(SET_METRICS[name, kind](outputs, targets, np.zeros(ROWS)))
    assert np.isnan(SET_METRICS[name, kind](outputs[:0], targets[:0]))


@pytest.mark.parametrize(("name", "kind"), SET_METRICS)
def test_the_order_and_the_home_of_arrays_do_not_matter(name, kind):
    metric = SET_METRICS[name, kind]
    (outputs, targets), weights, order = example(kind), sample_weights("real"), np.random.default_rng(4).permutation(ROWS)
    expected = metric(outputs.astype(np.float32), targets, weights)
    assert isinstance(expected, float)
    on_device = jnp.asarray(outputs), jnp.asarray(targets), jnp.asarray(weights)
    # Weights, and the targets of a regression, are float32 on the device.
    assert metric(*on_device) == pytest.approx(expected, rel=1e-5)
    assert metric(outputs.astype(np.float32)[order], targets[order], weights[order]) == pytest.approx(expected, **SUMS)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(("name", "kind"), SET_METRICS)
def test_half_precision_is_read_as_what_it_is(name, kind, dtype):
    metric, (outputs, targets) = SET_METRICS[name, kind], example(kind)
    outputs = jnp.asarray(outputs, dtype)
    found = metric(outputs, targets)
    assert found == pytest.approx(metric(np.asarray(outputs, np.float64), targets), **SUMS)


def test_an_absent_entry_has_no_rank():
    # Its logit is set to 0, above all others here.
    outputs, targets = np.array([[-1.0], [-2.0], [np.nan]]), np.array([[1], [0], [0]])
    assert metrics.average_precision(outputs, targets, [1, 1, 0]) == 1


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_entries_of_one_label_are_one_problem(name):
    metric, (outputs, targets) = CLASSIFICATION[name], example("binary")
    expected = metric(outputs, targets)
    assert metric(outputs[:, None], targets) == expected
    assert metric(outputs[:, None], targets[:, None]) == expected
    assert metric(outputs.reshape(4, 5, 6, 1), targets.reshape(4, 5, 6)) == pytest.approx(expected, **SUMS)
    assert metric(outputs, targets > 0) == expected


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_entries_of_several_axes_are_one_problem(name):
    metric, (outputs, targets) = CLASSIFICATION[name], example("classes")
    weights = sample_weights("real")
    several = metric(outputs.reshape(20, 6, 5), targets.reshape(20, 6), weights.reshape(20, 6))
    assert several == pytest.approx(metric(outputs, targets, weights), **SUMS)


@pytest.mark.parametrize("metric", [metrics.f1_score, metrics.roc_auc])
def test_columns_of_images_are_no_labels(metric):
    with pytest.raises(ValueError, match=r"must be \[n\] or \[n, labels\].* trailing 1; got shape \(2, 3, 4\)"):
        metric(np.zeros((2, 3, 4)), np.zeros((2, 3, 4), int))


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        ("f1_score", ([0.0, 1.0], [0.0, 1.0]), "targets must hold integer or boolean labels; got dtype float64"),
        ("roc_auc", ([0, 1], [0, 1]), "outputs must hold floating-point logits.*; got dtype int64"),
        ("recall", ([[0.0, 1.0]], [[0, 1, 2]]), r"got outputs \(1, 2\) and targets \(1, 3\)"),
        ("recall", ([1.0, 2.0], [0, 2]), "targets must hold labels 0, ..., 1 where weights are above 0; got label 2"),
        ("mean_iou", ([[1.0, 2.0, 3.0]], [-1]), "labels 0, ..., 2 .* got label -1"),
        ("precision", ([np.nan, 2.0], [0, 1]), "outputs must be finite where weights are above 0; got 1 values"),
        ("average_precision", ([[np.inf, 2.0]], [0]), "outputs must be finite where weights are above 0; got 1 values"),
        ("f1_score", (0.5, 1), r"targets must have rows, \[n, ...\]; got a scalar"),
        ("f1_score", ([1.0, 2.0], [0, 1], [1.0]), r"weights must have the first axes of \(2,\).*; got shape \(1,\)"),
        ("f1_score", ([1.0, 2.0], [0, 1], 1.0), r"weights must have the first axes of \(2,\).*; got shape \(\)"),
        ("f1_score", ([1.0, 2.0], [0, 1], [[1.0], [1.0]]), r"weights must have the first axes of \(2,\).*; got shape \(2, 1\)"),
        ("f1_score", ([1.0, 2.0], [0, 1], [1.0, -1.0]), r"weights must be finite and not negative; got -1.0 to 1.0"),
        ("f1_score", ([1.0, 2.0], [0, 1], [1.0, np.nan]), r"weights must be finite and not negative; got nan to nan"),
        ("f1_score", ([1.0, 2.0], [0, 1], [1.0, np.inf]), r"weights must be finite and not negative; got 1.0 to inf"),
        ("r2_score", ([[1.0], [2.0]], [1.0, 2.0]), r"outputs and targets must have one shape; got \(2, 1\) and \(2,\)"),
        ("r2_score", ([1.0, np.nan], [1.0, 2.0]), "outputs must be finite where weights are above 0; got 1 values"),
        ("explained_variance", ([1.0, 1.0], [1.0, np.inf]), "targets must be finite where weights are above 0; got 1 values"),
    ],
)
def test_set_metrics_refuse_what_they_would_get_wrong(metric, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, metric)(*arguments)


def test_options_are_checked():
    with pytest.raises(ValueError, match="average must be 'macro' or 'micro'; got 'weighted'"):
        metrics.f1_score([1.0], [1], average="weighted")
    with pytest.raises(ValueError, match="bins must be at least 1; got 0"):
        metrics.calibration_error([1.0], [1], bins=0)


# One method against another

NYU = ("mIoU", "PixAcc", "AbsErr", "RelErr", "Mean", "Median", "<11.25", "<22.5", "<30")
HIGHER = dict(zip(NYU, (True, True, False, False, False, False, True, True, True), strict=True))
PUBLISHED = {
    "STL": (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15),
    "MGDA": (30.47, 59.90, 0.6070, 0.2555, 24.88, 19.45, 29.18, 56.88, 69.36),
    "Nash-MTL": (40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15),
    "UW": (36.87, 63.17, 0.5446, 0.2260, 27.04, 22.61, 23.54, 49.05, 63.65),
}


@pytest.mark.parametrize(("method", "published"), [("STL", 0), ("MGDA", 1.38), ("Nash-MTL", -4.04), ("UW", 4.05)])
def test_delta_m_is_the_published_one(method, published):
    rows = {name: dict(zip(NYU, values, strict=True)) for name, values in PUBLISHED.items()}
    # Published to 0.01, from averages of three seeds that are themselves rounded to four digits.
    assert metrics.delta_m(rows[method], rows["STL"], higher_is_better=HIGHER) == pytest.approx(published, abs=0.02)


def test_delta_m_of_a_negative_baseline_keeps_its_sign():
    worse = metrics.delta_m({"r2": -0.75}, {"r2": -0.5}, higher_is_better={"r2": True})
    assert worse == 50 == -metrics.delta_m({"r2": -0.25}, {"r2": -0.5}, higher_is_better={"r2": True})


@pytest.mark.parametrize(
    ("method", "baseline", "higher", "message"),
    [
        ({"a": 1.0}, {"b": 1.0}, {"a": True}, r"name the same metrics, .*; got \['a'\], \['b'\] and \['a'\]"),
        ({"a": 1.0}, {"a": 1.0}, {}, r"name the same metrics, .*; got \['a'\], \['a'\] and \[\]"),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, {"a": True}, r"name the same metrics, .*; got \['a', 'b'\]"),
        ({}, {}, {}, "at least one"),
        ({"a": 1.0}, {"a": 0.0}, {"a": True}, r"baseline must differ from 0, .*; got 0 for \['a'\]"),
    ],
)
def test_delta_m_refuses_what_it_cannot_compare(method, baseline, higher, message):
    with pytest.raises(ValueError, match=message):
        metrics.delta_m(method, baseline, higher_is_better=higher)
