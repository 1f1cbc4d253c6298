"""One method against another: over seeds, and by ranks; and the plots of it."""

import numpy as np
import pytest
from scipy import stats

import jmeta
from jmeta import plotting

HIGHER = {"error": False, "accuracy": True}


def table(seed):
    random = np.random.default_rng(seed)
    return {at: {"error": random.uniform(1, 2), "accuracy": random.uniform(60, 90)} for at in range(4)}


def test_delta_m_over_seeds_is_the_mean_of_that_of_each_with_its_t_interval():
    ours, theirs = table(0), table(1)
    found = jmeta.paired_delta_m(ours, theirs, higher_is_better=HIGHER)
    each = [
        50 * ((ours[at]["error"] - theirs[at]["error"]) / theirs[at]["error"])
        + 50 * ((theirs[at]["accuracy"] - ours[at]["accuracy"]) / theirs[at]["accuracy"])
        for at in range(4)
    ]
    assert found.mean == pytest.approx(np.mean(each))
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(each))
    alone = jmeta.paired_delta_m({0: ours[0]}, {0: theirs[0]}, higher_is_better=HIGHER)
    assert alone.mean == pytest.approx(each[0])
    assert np.isnan(alone.half_width)


def test_ranks_are_scipy_s():
    random = np.random.default_rng(2)
    scores = random.integers(0, 4, size=(6, 2)).astype(float)
    methods = {f"method {at}": dict(zip(HIGHER, row, strict=True)) for at, row in enumerate(scores)}
    found = jmeta.mean_rank(methods, higher_is_better=HIGHER)
    expected = (stats.rankdata(scores[:, 0]) + stats.rankdata(-scores[:, 1])) / 2
    np.testing.assert_allclose(list(found.values()), expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: jmeta.paired_delta_m({}, {}, higher_is_better=HIGHER),
            "method and baseline must have the same seeds",
        ),
        (lambda: jmeta.mean_rank({"one": {"error": 1.0}}, higher_is_better=HIGHER), "methods must each name the metrics"),
        (
            lambda: jmeta.mean_rank({"one": {"error": np.nan, "accuracy": 1.0}}, higher_is_better=HIGHER),
            "methods must have a number for each metric; got NaN for .'one'",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_plots_hold_what_they_are_given():
    names = ["first", "second", "mask"]
    affinity = np.array([[1.0, 0.02, -0.01], [0.03, 1.0, 0.04], [-0.02, np.nan, 1.0]])
    (axes, _) = plotting.affinity_matrix(affinity, names).axes
    assert {text.get_text() for text in axes.texts} == {"1e+02", "2", "-1", "3", "4", "-2"}
    lines = [{"step": 10 * at, "cosines": np.full((3, 3), 0.1 * at)} for at in (1, 2)]
    (axes, _) = plotting.cosine_history(lines, names, metric="cosines").axes
    assert len(axes.get_yticklabels()) == 3
    grouping = jmeta.group_tasks(np.nan_to_num(affinity), names, groups=2, alone=0.0)
    (axes,) = plotting.task_groups(grouping).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    scores = {"independent networks": table(0), "hard sharing": table(1), "pcgrad": table(2)}
    figure = plotting.method_comparison(scores, baseline="independent networks", higher_is_better=HIGHER)
    assert {label.get_text() for label in figure.axes[0].get_yticklabels()} == {"hard sharing", "pcgrad"}
    with pytest.raises(ValueError, match="baseline must be one of at least two methods"):
        plotting.method_comparison(scores, baseline="none", higher_is_better=HIGHER)
