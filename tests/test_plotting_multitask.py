"""Figures of several tasks and of methods hold the numbers that they were given."""

import numpy as np
import pytest

import jmeta
from jmeta import plotting

NAMES = ["age", "kind", "pose"]


def said(axes):
    return [text.get_text() for text in axes.texts]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_affinity_matrix_writes_percents_and_its_colours_are_of_other_tasks():
    affinity = [[0.5, 0.01, -0.02], [0.003, 0.5, np.nan], [0.0, 0.001, 0.5]]
    axes, bar = plotting.affinity_matrix(affinity, NAMES).axes
    (image,) = axes.images
    assert said(axes) == ["50", "1", "-2", "0.3", "50", "0", "0.1", "50"]
    assert image.get_clim() == (-2, 2)
    assert np.ma.getmaskarray(image.get_array()).tolist() == [[True, False, False], [False, True, True], [False, False, True]]
    assert (ticks(axes.yaxis), ticks(axes.xaxis)) == (NAMES, NAMES)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("task of the step", "task whose loss is lowered")
    assert "%" in bar.get_ylabel()


def test_cosine_history_draws_each_pair_where_it_was_measured():
    def matrix(first, second, third):
        return [[1.0, first, second], [first, 1.0, third], [second, third, None]]

    lines = [{"step": 10, "cosines": matrix(0.5, -0.5, 0.1)}, {"step": 30, "cosines": matrix(0.7, None, 0.1)}, {"step": 40}]
    axes, bar = plotting.cosine_history(lines, NAMES, metric="cosines").axes
    (mesh,) = axes.collections
    assert ticks(axes.yaxis) == ["age – pose", "kind – pose", "age – kind"]
    values = np.ma.filled(mesh.get_array(), np.nan)
    np.testing.assert_array_equal(values, [[-0.5, np.nan, np.nan], [0.1, 0.1, np.nan], [0.5, 0.7, np.nan]])
    assert mesh.get_coordinates()[0, :, 0].tolist() == [0, 10, 30, 40]
    assert mesh.get_clim() == (-1, 1)
    assert (axes.get_xlabel(), bar.get_ylabel()) == ("training steps", "cosine of the gradients")
    with pytest.raises(ValueError, match="metrics must hold a line with 'angles'"):
        plotting.cosine_history(lines, NAMES, metric="angles")


def test_task_groups_tells_who_is_served_from_who_helps():
    grouping = jmeta.Grouping((("age", "kind"), ("age", "pose")), {"age": 0, "kind": 0, "pose": 1}, dict.fromkeys(NAMES, 0.012))
    figure = plotting.task_groups(grouping)
    (axes,) = figure.axes
    served, helps = axes.collections
    assert served.get_offsets().tolist() == [[0, 0], [0, 1], [1, 2]]
    assert helps.get_offsets().tolist() == [[1, 0]]
    assert (said(axes), ticks(axes.xaxis), ticks(axes.yaxis)) == (["+1.2 %"] * 3, ["1", "2"], NAMES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["taken from this network", "only helps"]
    alone = plotting.task_groups(jmeta.Grouping((("age",),), {"age": 0}, {"age": -np.inf}))
    assert said(alone.axes[0]) == ["alone"]


def test_method_comparison_draws_delta_m_and_every_metric_the_best_method_first():
    better = {"error": False, "mean_accuracy": True}
    scores = {
        "alone": {0: {"error": 1.0, "mean_accuracy": 50.0}, 1: {"error": 2.0, "mean_accuracy": 50.0}},
        "worse": {0: {"error": 1.5, "mean_accuracy": 50.0}, 1: {"error": 2.2, "mean_accuracy": 45.0}},
        "good_one": {0: {"error": 0.5, "mean_accuracy": 60.0}, 1: {"error": 1.0, "mean_accuracy": 60.0}},
    }
    figure = plotting.method_comparison(scores, baseline="alone", higher_is_better=better)
    overall, error, accuracy = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["all metrics, Δm", "error ↓", "mean accuracy ↑"]
    assert (ticks(overall.yaxis), ticks(error.yaxis)) == (["good one", "worse"], ["", ""])
    np.testing.assert_allclose(overall.collections[0].get_offsets(), [[-35, 0], [17.5, 1]])
    interval = jmeta.paired_delta_m(scores["worse"], scores["alone"], higher_is_better=better)
    assert overall.containers[-1].lines[2][0].get_segments()[1][:, 0] == pytest.approx(
        [17.5 - interval.half_width, 17.5 + interval.half_width]
    )
    assert [bar.get_width() for bar in error.patches] == pytest.approx([-50, 30])
    assert [bar.get_width() for bar in accuracy.patches] == pytest.approx([-20, 5])
    assert len({bar.get_facecolor() for bar in error.patches}) == 2
    with pytest.raises(ValueError, match="baseline must be one of at least two methods"):
        plotting.method_comparison(scores, baseline="none", higher_is_better=better)


def test_training_curve_leaves_out_matrices():
    (axes,) = plotting.training_curve([{"step": 1, "loss": 4.0, "cosines": [[1.0]]}]).axes
    assert axes.get_ylabel() == "loss"


def test_training_curve_draws_the_losses_of_the_tasks_in_one_panel():
    lines = [
        {"step": 1, "loss": 3.0, "age/loss": 4.0, "kind/loss": 2.0},
        {"step": 2, "loss": 1.5, "age/loss": 2.0, "kind/loss": 1.0, "validation/loss": 2.0, "validation/age/loss": 3.0},
    ]
    mean, of_tasks = plotting.training_curve(lines).axes
    assert (mean.get_ylabel(), of_tasks.get_ylabel()) == ("loss", "loss of each task")
    assert [line.get_xydata().tolist() for line in of_tasks.lines] == [[[1, 4], [2, 2]], [[2, 3]], [[1, 2], [2, 1]]]
    assert [line.get_linestyle() for line in of_tasks.lines] == ["-", "--", "-"]
    assert [text.get_text() for text in of_tasks.get_legend().get_texts()] == ["age", "kind"]


def test_training_curve_has_no_legend_of_a_hundred_tasks():
    lines = [{"step": 1, "loss": 3.0} | {f"school {number}/loss": 1.0 + number for number in range(100)}]
    _, of_tasks = plotting.training_curve(lines).axes
    assert (len(of_tasks.lines), of_tasks.get_legend()) == (100, None)


def test_training_curve_needs_a_number():
    with pytest.raises(ValueError, match="line with a number; got 1 lines without"):
        plotting.training_curve([{"step": 1, "loss": [1.0, 2.0]}])
