"""Figures of embeddings and step sizes hold the numbers that they were given."""

import numpy as np
import pytest

from jmeta import plotting

MODES = ["line", "sine", "line", "sine", "sine"]


def test_embeddings_are_drawn_on_their_principal_axes():
    generator = np.random.default_rng(0)
    plane, basis = generator.standard_normal((5, 2)) * [3, 1], np.linalg.qr(generator.standard_normal((6, 2)))[0].T
    (axes,) = plotting.task_embeddings(plane @ basis + 7, MODES).axes
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
    order = np.argsort([mode == "sine" for mode in MODES], kind="stable")
    # Distances in the plane are those of the points, whatever the directions of the axes.
    expected = np.linalg.norm(plane[order][:, None] - plane[order][None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn[None], axis=-1), expected, rtol=1e-10, atol=1e-10)
    variances = np.linalg.svd(plane - plane.mean(axis=0), compute_uv=False) ** 2
    first, second = (f"{100 * part / variances.sum():.0f} %" for part in variances)
    assert first in axes.get_xlabel()
    assert second in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["line", "sine"]


def test_embeddings_stand_beside_what_tasks_attend_to():
    attention = np.array([[0.2, 0.8], [0.5, 0.5]])
    _, axes, bar = plotting.task_embeddings([[0.0], [1.0]], ["a", "b"], attention=attention).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), attention)
    assert (axes.get_ylabel(), axes.get_xlabel(), bar.get_ylabel()) == ("task that attends", "task that is attended to", "share")


def test_step_sizes_of_a_mode_are_a_geometric_mean_with_a_range():
    rates = np.array([[[0.1, 0.2], [1.0, 1.0]], [[0.4, 0.8], [1.0, 4.0]], [[0.5, 0.5], [0.5, 0.5]]])
    figure = plotting.step_sizes(rates, ["kernel", "bias"], ["line", "line", "sine"])
    kernel, bias = figure.axes
    assert [axes.get_title() for axes in (kernel, bias)] == ["kernel", "bias"]
    line, sine = kernel.lines
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.4])
    np.testing.assert_allclose(sine.get_ydata(), [0.5, 0.5])
    low, high = (side(kernel.collections[0].get_paths()[0].vertices[:, 1]) for side in (min, max))
    np.testing.assert_allclose((low, high), (0.1, 0.8))
    assert kernel.get_yscale() == "log"
    np.testing.assert_allclose(bias.lines[0].get_ydata(), [1.0, 2.0])


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plotting.task_embeddings(np.ones((3, 2)), ["a"]), r"embeddings must be \[tasks, d\] .*; got \(3, 2\) and 1 names"),
        (lambda: plotting.task_embeddings(np.ones((1, 2)), ["a"]), "embeddings must be .* two tasks at least"),
        (lambda: plotting.task_embeddings(np.ones((2, 2)), ["a", "b"], attention=np.ones((3, 3))), "attention must"),
        (lambda: plotting.step_sizes(np.ones((2, 2)), ["a", "b"], ["c", "d"]), r"rates must be \[tasks, groups, steps\]"),
        (lambda: plotting.step_sizes(np.zeros((1, 1, 2)), ["a"], ["c"]), "rates must be positive to be drawn in decades; got 0.0"),
    ],
)
def test_bad_input_is_refused(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()
