"""The figure of what may choose a step holds the numbers that it was given."""

import math

import numpy as np
import pytest

from jmeta import plotting

STEPS = [10, 20, 30]
ACCURACIES = {"source": [0.9, 0.95, 0.97], "target": [0.5, 0.7, 0.6]}
SCORES = {"loss": [0.3, 0.2, 0.1], "entropy": [0.4, math.nan, 0.45]}


def test_accuracies_and_scores_are_drawn_over_the_steps_with_what_each_would_choose():
    left, right = plotting.choice_of_step(STEPS, ACCURACIES, SCORES, chosen_by="entropy").axes
    for line, row in zip(left.lines, ACCURACIES.values(), strict=False):
        np.testing.assert_array_equal(line.get_xdata(), STEPS)
        np.testing.assert_allclose(line.get_ydata(), 100 * np.asarray(row))
    loss, least_loss, entropy, least_entropy, chosen = right.lines
    np.testing.assert_array_equal(loss.get_ydata(), SCORES["loss"])
    np.testing.assert_array_equal(entropy.get_ydata(), SCORES["entropy"])
    assert [float(mark.get_xdata()[0]) for mark in (least_loss, least_entropy)] == [30, 10]
    # The line that says what was chosen is in both.
    assert set(chosen.get_xdata()) == set(left.lines[-1].get_xdata()) == {10}
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["loss", "entropy", "chosen by entropy"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": []}, r"one number for each of one step at least; got \{.*\} for 0"),
        ({"steps": [1, 2]}, r"got \{'source': 3, 'target': 3, 'loss': 3, 'entropy': 3\} for 2"),
        ({"chosen_by": "oracle"}, "chosen_by must be one of loss, entropy; got 'oracle'"),
    ],
)
def test_bad_input_is_refused(changes, sentence):
    given = {"steps": STEPS, "accuracies": ACCURACIES, "scores": SCORES, "chosen_by": "loss"}
    with pytest.raises(ValueError, match=sentence):
        plotting.choice_of_step(**given | changes)
