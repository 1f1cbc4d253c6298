"""Dynamic weight average against equation and epochs of the paper, in NumPy."""

import numpy as np
import pytest

import jmeta
from tests.weighting.recurrences import draw, run, softmax


def recurrence(losses, present, per_epoch, temperature):
    """The means of the losses there are; an epoch without any is none for that task."""
    epochs, found = [[] for _ in losses.T], []
    for start in range(0, len(losses), per_epoch):
        ratios = np.array([means[-1] / means[-2] if len(means) > 1 else 1.0 for means in epochs])
        for there in present[start : start + per_epoch]:
            found.append(np.zeros(len(ratios)))
            if there.any():
                found[-1][there] = there.sum() * softmax(ratios[there] / temperature)
        for task, means in enumerate(epochs):
            rows = present[start : start + per_epoch, task]
            if rows.any():
                means.append(losses[start : start + per_epoch, task][rows].mean())
    return np.array(found)


@pytest.mark.parametrize("per_epoch", [1, 7])
def test_weights_are_those_of_the_paper_for_fifty_steps(x64, per_epoch):
    losses, _, present = draw()
    present[14:28, 1] = False
    weighting = jmeta.dynamic_weight_average(steps_per_epoch=per_epoch, temperature=0.5)
    _, weights = run(weighting, losses * present, present=present)
    np.testing.assert_allclose(weights * present, recurrence(losses, present, per_epoch, 0.5), rtol=1e-10)


def test_the_first_two_epochs_are_equal_and_the_third_favours_what_fell_least(x64):
    losses = np.repeat([[1.0, 1.0], [0.9, 0.1], [0.9, 0.1]], 3, axis=0)
    _, weights = run(jmeta.dynamic_weight_average(steps_per_epoch=3), losses)
    np.testing.assert_allclose(weights[:6], 1, rtol=1e-12)
    np.testing.assert_allclose(weights[6:], np.tile(2 * softmax(np.array([0.9, 0.1]) / 2), (3, 1)), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps_per_epoch": 0}, "steps_per_epoch must be a whole number of at least 1; got 0"),
        ({"steps_per_epoch": 1, "temperature": 0.0}, "temperature must be positive; got 0.0"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.dynamic_weight_average(**options)
