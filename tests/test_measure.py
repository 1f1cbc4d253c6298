"""Bootstrap intervals against the normal's, against a loop that copies rows, and what they leave out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta import metrics

# Sums in another order; row metrics are computed in float32.
SUMS, FLOAT32 = {"rel": 1e-10, "abs": 1e-12}, {"rel": 1e-5, "abs": 1e-6}


def itself(outputs, targets):
    return outputs + 0 * targets


def mean_of_all(outputs, targets, weights=None):
    """The weighted mean as a set metric."""
    del targets
    return np.average(outputs, weights=weights)


def classified(seed=0, tasks=12, rows=10):
    """Binary logits of tasks of different sizes, whose rows lie in any order."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, rows, tasks)
    numbers = random.permutation(np.repeat(random.choice(1000, tasks, replace=False) - 500, sizes))
    logits = random.normal(size=len(numbers)).round(1)
    return metrics.Predictions(logits, (logits + random.normal(size=len(numbers)) > 0).astype(int), None, numbers)


def test_a_mean_of_normal_values_has_its_analytic_interval():
    values = np.random.default_rng(0).normal(3, 2, 2000)
    found = metrics.measure(metrics.Predictions(values, values), {"mean": itself}, resamples=4000)["mean"]
    assert found.mean == pytest.approx(values.mean(), **FLOAT32)
    # The 2.5 % quantile of 4000 normal values has standard error sqrt(0.025 0.975 / 4000) / 0.058 = 0.042 standard deviations, half
    # a difference of two 0.03, which is 1.5 % of 1.96; four times that.
    assert found.half_width == pytest.approx(jmeta.estimate(values).half_width, rel=0.06)


def test_the_interval_covers_the_truth():
    covered = 0
    for seed in range(300):
        values = np.random.default_rng(seed).normal(1, 1, 100)
        found = metrics.measure(metrics.Predictions(values, values), {"mean": itself}, resamples=300)["mean"]
        covered += abs(found.mean - 1) <= found.half_width
    # 95 %, or 94 % for 100 values, with a standard error of 1.3 % of 300 trials; three times that below and above.
    assert 0.90 <= covered / 300 <= 0.99


def test_rows_of_a_task_are_not_independent():
    random = np.random.default_rng(0)
    effects = random.normal(0, 1, 60)
    values = (effects[:, None] + random.normal(0, 0.1, (60, 20))).ravel()
    rows = metrics.Predictions(values, values)
    tasks = rows._replace(tasks=np.repeat(np.arange(60), 20))
    by_row, by_task = (metrics.measure(given, {"mean": itself})["mean"] for given in (rows, tasks))
    assert by_row.mean == by_task.mean
    # 20 rows say what one says: sqrt(20) = 4.5 times as wide.
    assert by_task.half_width > 3.5 * by_row.half_width
    # The standard error of a bootstrap of 1000 is 3 %, that of the t quantile for 60 tasks 2 %; three times their sum.
    assert by_task.half_width == pytest.approx(jmeta.estimate(effects).half_width, rel=0.15)


SEVERAL = {
    "auc": metrics.roc_auc,
    "f1": functools.partial(metrics.f1_score, average="micro"),
    "calibration": metrics.calibration_error,
    "accuracy": jmeta.accuracy,
    "likelihood": metrics.negative_log_likelihood,
}


@pytest.mark.parametrize("independent", ["tasks", "rows"])
@pytest.mark.parametrize("weighted", [False, True])
def test_resamples_are_those_of_a_loop_that_copies_rows(independent, weighted):
    predictions, resamples, seed = classified(), 50, 5
    outputs, targets, _, tasks = predictions
    weights = np.random.default_rng(1).uniform(0.5, 2, len(tasks)) if weighted else np.ones(len(tasks))
    if independent == "rows":
        tasks = np.arange(len(tasks))
    given = metrics.Predictions(outputs, targets, weights if weighted else None, tasks if independent == "tasks" else None)
    found = metrics.measure(given, SEVERAL, resamples=resamples, seed=seed)
    marks = {name: SEVERAL[name](jnp.asarray(outputs), jnp.asarray(targets)) for name in ("accuracy", "likelihood")}

    def naive(name, rows):
        if name in marks:
            return np.average(np.asarray(marks[name])[rows], weights=weights[rows])
        return SEVERAL[name](outputs[rows], targets[rows], weights[rows])

    members = [np.flatnonzero(tasks == task) for task in np.unique(tasks)]
    random = np.random.default_rng(seed)
    draws = [random.integers(len(members), size=len(members)) for _ in range(resamples)]
    copies = [np.concatenate([members[unit] for unit in units]) for units in draws]
    for name in SEVERAL:
        low, high = np.quantile([naive(name, rows) for rows in copies], [0.025, 0.975])
        assert found[name].mean == pytest.approx(naive(name, np.arange(len(tasks))), **FLOAT32)
        assert found[name].half_width == pytest.approx((high - low) / 2, **FLOAT32)


def test_all_metrics_see_the_same_resamples():
    predictions = classified()
    both = metrics.measure(predictions, {"row": itself, "set": mean_of_all, "other": jmeta.accuracy})
    alone = metrics.measure(predictions, {"set": mean_of_all})
    assert both["set"] == alone["set"]
    assert both["row"].mean == pytest.approx(alone["set"].mean, **FLOAT32)
    assert both["row"].half_width == pytest.approx(alone["set"].half_width, **FLOAT32)
    assert metrics.measure(predictions, {"set": mean_of_all}, seed=1)["set"].half_width != alone["set"].half_width


@pytest.mark.parametrize("independent", ["tasks", "rows"])
def test_absent_rows_and_tasks_do_not_matter(independent):
    predictions = classified()
    outputs, targets, _, tasks = predictions
    padded = metrics.Predictions(
        np.insert(outputs, slice(0, 40, 2), np.nan),
        np.insert(targets, slice(0, 40, 2), -1),
        np.insert(np.ones(len(outputs)), slice(0, 40, 2), 0),
        # A task of absent rows alone, between the others.
        np.insert(tasks, slice(0, 40, 2), 0),
    )
    assert 0 not in tasks
    if independent == "rows":
        predictions, padded = predictions._replace(tasks=None), padded._replace(tasks=None)
    expected, found = (metrics.measure(given, SEVERAL, resamples=50) for given in (predictions, padded))
    for name in SEVERAL:
        assert found[name] == pytest.approx(expected[name], **SUMS)


def test_absent_entries_of_a_row_do_not_matter():
    random = np.random.default_rng(0)
    outputs, targets = random.normal(size=(30, 2)), random.integers(0, 2, (30, 2))
    weights = random.integers(0, 3, (30, 2))
    expected = metrics.measure(metrics.Predictions(outputs, targets, weights), SEVERAL, resamples=50)
    entries = jmeta.accuracy(jnp.asarray(outputs), jnp.asarray(targets))
    assert expected["accuracy"].mean == pytest.approx(np.average(entries, weights=weights), **FLOAT32)
    outputs[weights == 0], targets[weights == 0] = np.nan, 7
    assert metrics.measure(metrics.Predictions(outputs, targets, weights), SEVERAL, resamples=50) == expected


def test_undefined_resamples_are_left_out():
    # One positive row of four: it is missing from about a third of the resamples.
    outputs, targets = np.array([0.0, 1.0, 2.0, 1.0]), np.array([0, 0, 0, 1])
    found = metrics.measure(metrics.Predictions(outputs, targets), {"auc": metrics.roc_auc}, resamples=200)["auc"]
    random = np.random.default_rng(0)
    chosen = [random.integers(4, size=4) for _ in range(200)]
    values = np.array([metrics.roc_auc(outputs[rows], targets[rows]) for rows in chosen])
    assert 0.2 < np.isnan(values).mean() < 0.6
    low, high = np.nanquantile(values, [0.025, 0.975])
    assert found == pytest.approx((0.5, (high - low) / 2), **SUMS)


def test_an_undefined_metric_has_no_interval():
    found = metrics.measure(metrics.Predictions(np.zeros(3), np.ones(3, int)), {"auc": metrics.roc_auc}, resamples=10)
    assert np.isnan(found["auc"]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_diverged_row_is_seen(wrong):
    values = np.array([1.0, wrong, 2.0])
    found = metrics.measure(metrics.Predictions(values, np.zeros(3)), {"mean": lambda outputs, targets: outputs}, resamples=10)[
        "mean"
    ]
    np.testing.assert_array_equal(found, [wrong, np.nan])


def test_outputs_may_be_a_tree_and_metrics_jitted():
    random = np.random.default_rng(0)
    outputs = {"mean": random.normal(size=(20, 2)), "deviation": np.ones((20, 2))}
    targets = {"y": random.normal(size=(20, 2))}

    def deviance(outputs, targets):
        return ((outputs["mean"] - targets["y"]) / outputs["deviation"]) ** 2

    def r2(outputs, targets, weights):
        return metrics.r2_score(outputs["mean"], targets["y"], weights)

    given = metrics.Predictions(*jax.tree.map(jnp.asarray, (outputs, targets)))
    found = metrics.measure(given, {"deviance": jax.jit(deviance), "r2": r2}, resamples=20)
    assert found["deviance"].mean == pytest.approx(deviance(outputs, targets).mean(), **FLOAT32)
    assert found["r2"].mean == pytest.approx(r2(outputs, targets, None), **FLOAT32)


@pytest.mark.parametrize(
    ("change", "metric", "options", "message"),
    [
        ({"tasks": np.zeros(4, int)}, itself, {}, "at least two tasks with a weight above 0, .*; got 1"),
        ({"weights": np.array([1, 0, 0, 0])}, itself, {}, "at least two rows with a weight above 0, .*; got 1"),
        ({"outputs": np.ones(0), "targets": np.ones(0)}, itself, {}, "at least two rows .*; got 0"),
        ({"targets": np.ones(3)}, itself, {}, r"one row each, .*; got shapes \[\(4,\), \(3,\)\]"),
        ({"targets": np.ones(())}, itself, {}, r"one row each, .*; got shapes \[\(4,\), \(\)\]"),
        ({"tasks": np.zeros(3, int)}, itself, {}, r"one integer for each of 4 rows, \[rows\]; got int64 of shape \(3,\)"),
        ({"tasks": np.zeros(4)}, itself, {}, r"one integer for each of 4 rows, \[rows\]; got float64 of shape \(4,\)"),
        ({"weights": np.ones(3)}, itself, {}, r"one row for each of 4 rows; got shape \(3,\)"),
        ({"weights": np.float64(1)}, itself, {}, r"one row for each of 4 rows; got shape \(\)"),
        ({"weights": -np.ones(4)}, itself, {}, "weights must be finite and not negative; got -1.0 to -1.0"),
        ({"weights": np.ones((4, 2))}, itself, {}, r"weights must have the first axes of \(4,\).*; got shape \(4, 2\)"),
        ({}, lambda outputs, targets: outputs.mean(), {}, r"metric 'it' must give one value or more per row.*; got shape \(\)"),
        (
            {"outputs": np.ones((4, 1))},
            lambda x, y: x - y[None],
            {},
            r"metric 'it' must give .*; got shape \(4, 4\) from .*\(4, 1\)",
        ),
        ({}, lambda outputs, targets, weights: outputs, {}, r"metric 'it' must give one number, .*; got shape \(4,\)"),
        ({}, itself, {"resamples": 1}, "resamples must be at least 2; got 1"),
    ],
)
def test_what_has_no_interval_is_refused(change, metric, options, message):
    predictions = metrics.Predictions(np.ones(4), np.ones(4))._replace(**change)
    with pytest.raises(ValueError, match=message):
        metrics.measure(predictions, {"it": metric}, **options)


@pytest.mark.parametrize("logits", [3, 1])
def test_a_metric_of_sums_over_rows_is_that_of_the_rows_of_each_resample(logits):
    random = np.random.default_rng(7)
    weights = random.choice([0.0, 1.0, 2.5], size=(20, 4, 5))
    outputs, targets = random.normal(size=(20, 4, 5, logits)), random.integers(0, max(logits, 2), size=(20, 4, 5))
    outputs[weights == 0] = np.nan
    given = metrics.Predictions(outputs, targets, weights, np.arange(20) // 2)

    def by_rows(outputs, targets, weights):
        return metrics.mean_iou(outputs, targets, weights)

    found = metrics.measure(given, {"sums": metrics.mean_iou, "rows": by_rows}, resamples=50)
    np.testing.assert_allclose(found["sums"], found["rows"], rtol=1e-12)
