"""Figures hold the numbers that they were given."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import jmeta
from jmeta import plotting
from jmeta._catalogue.results import Scores


def evaluation(metric, estimates):
    """An evaluation with these estimates, pairs by the number of steps."""
    after_steps = tuple(jmeta.Estimate(*pair) for pair in estimates.values())
    values = np.zeros((2, len(estimates)))
    return jmeta.Evaluation(metric, tuple(estimates), after_steps, values, (0,) * len(values), "none", False, 1.0, 0, {}, "")


def shifting_learner():
    """Predicts x plus a number that every step of adapting moves by the first target."""

    def path(params, key, support, num_steps, *, classes=None, training=False):
        del key, classes, training
        return params + jnp.arange(num_steps + 1) * support.y[0, 0]

    def predict(params, adapted, x, *, key=None, mask=None):
        del params, key, mask
        return x + adapted

    return jmeta.Learner(None, None, predict, None, path)


def legend(owner):
    return [text.get_text() for text in owner.get_texts()]


def test_training_curve_draws_every_line_that_has_a_number():
    lines = [
        {"step": 1, "loss": 4.0},
        {"step": 2, "loss": 2.0, "validation/loss": 3.0, "validation/accuracy": 0.25},
        {"step": 3, "loss": 1.0, "validation/loss": None, "validation/accuracy": 0.75},
    ]
    figure = plotting.training_curve(lines)
    losses, accuracies = figure.axes
    assert [line.get_xydata().tolist() for line in losses.lines] == [[[1, 4], [2, 2], [3, 1]], [[2, 3]]]
    assert [line.get_xydata().tolist() for line in accuracies.lines] == [[[2, 0.25], [3, 0.75]]]
    assert (losses.get_xlabel(), losses.get_ylabel(), accuracies.get_ylabel()) == ("training steps", "loss", "accuracy")
    assert (losses.get_yscale(), accuracies.get_yscale()) == ("log", "linear")
    assert legend(losses.get_legend()) == ["training", "validation"]


def test_training_curve_does_not_draw_a_regression_twice():
    lines = [{"step": 1, "loss": 4.0, "validation/loss": 3.0, "validation/squared_error": 3.0}]
    assert len(plotting.training_curve(lines).axes) == 1


def test_training_curve_marks_the_steps_at_which_validation_diverged():
    lines = [
        {"step": 1, "loss": 4.0, "validation/loss": None, "validation/diverged": 2.0},
        {"step": 2, "loss": 2.0, "validation/loss": 3.0, "validation/diverged": 0.0},
        {"step": 3, "loss": 1.0},
    ]
    (axes,) = plotting.training_curve(lines).axes
    _, validation, diverged = axes.lines
    assert validation.get_xydata().tolist() == [[2, 3]]
    assert diverged.get_xdata().tolist() == [1]
    assert legend(axes.get_legend()) == ["training", "validation", "validation diverged"]
    (axes,) = plotting.training_curve(lines[1:]).axes
    assert legend(axes.get_legend()) == ["training", "validation"]


def test_training_curve_needs_a_line():
    with pytest.raises(ValueError, match="at least one line"):
        plotting.training_curve([])


def test_adaptation_curve_draws_means_intervals_and_references():
    evaluations = {
        "MAML": evaluation("squared_error", {0: (3.0, 0.5), 1: (1.0, 0.25)}),
        "other": evaluation("squared_error", {0: (3.0, 0.5)}),
    }
    figure = plotting.adaptation_curve(evaluations, references={"zero": 4.25})
    (axes,) = figure.axes
    maml, other, zero = axes.lines
    assert maml.get_xydata().tolist() == [[0, 3], [1, 1]]
    assert other.get_xydata().tolist() == [[0, 3]]
    assert set(zero.get_ydata()) == {4.25}
    band = {tuple(corner) for corner in axes.collections[0].get_paths()[0].vertices}
    assert {(0, 2.5), (0, 3.5), (1, 0.75), (1, 1.25)} <= band
    assert axes.get_ylabel() == "mean squared error on query examples"
    assert "adaptation steps" in axes.get_xlabel()
    assert legend(figure.legends[0]) == ["MAML", "other", "zero"]


def test_adaptation_curve_draws_each_at_its_own_numbers_of_steps():
    evaluations = {
        "every step": evaluation("accuracy", {0: (0.2, 0.1), 1: (0.5, 0.1), 2: (0.6, 0.1)}),
        "as trained": evaluation("accuracy", {3: (0.7, 0.1)}),
        "without steps": evaluation("accuracy", {None: (0.8, 0.05)}),
    }
    (axes,) = plotting.adaptation_curve(evaluations).axes
    every, trained, without = axes.lines
    assert every.get_xdata().tolist() == [0, 1, 2]
    assert trained.get_xydata().tolist() == [[3, 0.7]]
    # From the left edge to the right one, in axes coordinates.
    assert (list(without.get_xdata()), set(without.get_ydata())) == ([0, 1], {0.8})
    (band,) = axes.patches
    assert (band.get_y(), band.get_height()) == (pytest.approx(0.75), pytest.approx(0.1))
    assert len({line.get_color() for line in axes.lines}) == 3
    assert band.get_facecolor()[:3] == to_rgb(without.get_color())


def test_adaptation_curve_of_scores_read_from_a_file():
    scores = Scores("accuracy", (0, 5), (jmeta.Estimate(0.2, 0.1), jmeta.Estimate(0.9, 0.1)), {})
    (axes,) = plotting.adaptation_curve({"file": scores}).axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 0.2], [5, 0.9]]


def test_adaptation_curve_refuses_two_metrics():
    evaluations = {"a": evaluation("accuracy", {0: (1.0, 0.1)}), "b": evaluation("squared_error", {0: (1.0, 0.1)})}
    with pytest.raises(ValueError, match="one metric; got \\['accuracy', 'squared_error'\\]"):
        plotting.adaptation_curve(evaluations)


def test_regression_tasks_draws_before_and_after_adapting():
    sampler = jmeta.batch_tasks(jmeta.sinusoid(shots=2, queries=5), 4)
    episodes = sampler.sample(sampler.data, jax.random.key(0))
    figure = plotting.regression_tasks(shifting_learner(), jnp.zeros(()), episodes, num_steps=3)
    assert len(figure.axes) == 6
    for task in range(4):
        truth, before, after, support = figure.axes[task].lines
        assert (np.diff(truth.get_xdata()) > 0).all()
        assert set(truth.get_ydata()) == set(np.asarray(episodes.query.y[task, :, 0]))
        # x + 0 and x + 3 times the first target, in float32.
        np.testing.assert_allclose(np.ravel(before.get_ydata()), np.ravel(before.get_xdata()), rtol=1e-6)
        shift = 3 * float(episodes.support.y[task, 0, 0])
        np.testing.assert_allclose(np.ravel(after.get_ydata()), np.ravel(after.get_xdata()) + shift, rtol=1e-5, atol=1e-5)
        assert np.ravel(support.get_ydata()).tolist() == np.ravel(episodes.support.y[task]).tolist()
    assert legend(figure.legends[0]) == ["truth", "before adapting", "after 3 steps", "support"]


def test_regression_tasks_needs_a_path():
    with pytest.raises(ValueError, match="path"):
        plotting.regression_tasks(shifting_learner()._replace(path=None), (), None, num_steps=1)


def test_figures_are_no_state_of_pyplot(tmp_path):
    figure = plotting.training_curve([{"step": 1, "loss": 1.0}])
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    code = (
        "import sys, jmeta.plotting; assert not any(name.startswith('matplotlib') for name in sys.modules);"
        "jmeta.plotting.training_curve([{'step': 1, 'loss': 1.0}]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
