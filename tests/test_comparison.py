"""Comparisons of methods over seeds and over metrics, against SciPy."""

import numpy as np
import pytest
from scipy import stats

import jmeta

BETTER = {"error": False, "accuracy": True}


def table(seed, seeds=4):
    random = np.random.default_rng(seed)
    return {number: {"error": random.uniform(1, 2), "accuracy": random.uniform(50, 60)} for number in range(seeds)}


def test_paired_delta_m_is_the_mean_over_seeds_with_the_interval_of_student():
    method, baseline = table(0), table(1)
    # In another order: seeds are paired by what they are.
    found = jmeta.paired_delta_m(method, dict(reversed(baseline.items())), higher_is_better=BETTER)
    values = [jmeta.delta_m(method[seed], baseline[seed], higher_is_better=BETTER) for seed in range(4)]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_one_seed_has_no_interval():
    found = jmeta.paired_delta_m({7: {"error": 1.5}}, {7: {"error": 1.0}}, higher_is_better={"error": False})
    assert found.mean == 50
    assert np.isnan(found.half_width)


def test_seeds_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match=r"same seeds, at least one; got \[0, 1\] and \[0, 1, 2\]"):
        jmeta.paired_delta_m(table(0, 2), table(1, 3), higher_is_better=BETTER)
    with pytest.raises(ValueError, match="same seeds, at least one"):
        jmeta.paired_delta_m({}, {}, higher_is_better=BETTER)


def test_mean_ranks_are_those_of_scipy_and_ties_are_shared():
    values = np.random.default_rng(0).integers(0, 4, size=(9, 3)).astype(float)
    better = {"a": True, "b": False, "c": True}
    methods = {f"method {at}": dict(zip(better, row, strict=True)) for at, row in enumerate(values)}
    found = jmeta.mean_rank(methods, higher_is_better=better)
    expected = stats.rankdata(values * np.array([-1, 1, -1]), axis=0).mean(axis=1)
    assert [*found] == [*methods]
    assert [*found.values()] == pytest.approx(expected)


def test_what_has_no_rank_is_refused():
    with pytest.raises(ValueError, match=r"methods must each name the metrics of higher_is_better, \['accuracy', 'error'\]"):
        jmeta.mean_rank({"one": {"error": 1.0}}, higher_is_better=BETTER)
    with pytest.raises(ValueError, match=r"got NaN for \['other'\]"):
        jmeta.mean_rank({"one": {"error": 1.0}, "other": {"error": float("nan")}}, higher_is_better={"error": False})
