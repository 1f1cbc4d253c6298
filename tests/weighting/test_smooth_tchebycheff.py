"""Smooth Tchebycheff scalarisation against its formula, its derivatives and its limit."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import jmeta
from tests.weighting.recurrences import draw, run, softmax, weights_of

PREFERENCES, REFERENCE = np.array([1.0, 4.0, 0.5]), np.array([0.1, 0.0, -2.0])


def test_weights_are_those_of_the_paper_for_fifty_steps(x64):
    losses, _, present = draw()
    weighting = jmeta.smooth_tchebycheff(0.3, preferences=PREFERENCES, reference=REFERENCE)
    _, weights = run(weighting, losses, present=present)
    for step, there in enumerate(present):
        if there.any():
            preferred = PREFERENCES[there] / PREFERENCES[there].sum()
            expected = preferred * softmax(preferred * (losses[step] - REFERENCE)[there] / 0.3)
            np.testing.assert_allclose(weights[step, there], expected, rtol=1e-10)


def test_over_the_nadir_weights_are_those_of_the_authors_code_for_fifty_steps(x64):
    """Their scalarisation is K mu log sum exp of log(L / n) / mu, and before that the sum of the logarithms."""
    losses, _, present = draw()
    _, weights = run(jmeta.smooth_tchebycheff(0.3, nadir_steps=(8, 16)), losses, present=present)
    nadir = np.array([losses[8:16, task][present[8:16, task]].mean() for task in range(3)])
    for step, there in enumerate(present):
        if there.any():
            shares = softmax(np.log(losses[step, there] / nadir[there]) / 0.3) if step >= 16 else 1 / there.sum()
            np.testing.assert_allclose(weights[step, there], there.sum() * shares / losses[step, there], rtol=1e-10)


@pytest.mark.parametrize("over_nadir", [False, True])
def test_weights_are_the_derivatives_of_the_smooth_maximum(x64, over_nadir):
    """By central differences, with preferences and a reference."""
    losses, nadir = np.array([0.7, 0.4, 1.5]), np.array([2.0, 0.5, 3.0])
    preferred = PREFERENCES / PREFERENCES.sum()
    options = {"preferences": PREFERENCES, "reference": REFERENCE, "nadir_steps": (0, 1) if over_nadir else None}
    weighting = jmeta.smooth_tchebycheff(0.2, **options)
    weights = weights_of(weighting.init(3)._replace(nadir=jnp.asarray(nadir), step=jnp.int32(1)), weighting, losses)

    def scalarized(losses):
        if over_nadir:
            return 3 * 0.2 * logsumexp(3 * preferred * np.log((losses - REFERENCE) / nadir) / 0.2)
        return 0.2 * logsumexp(preferred * (losses - REFERENCE) / 0.2)

    expected = [(scalarized(losses + 1e-5 * one) - scalarized(losses - 1e-5 * one)) / 2e-5 for one in np.eye(3)]
    # The differences are right to about the square of their step, which the smoothing divides.
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_the_less_smoothing_the_more_the_largest_counts_alone(x64):
    losses = np.array([0.5, 0.3, 2.0])
    largest = np.argmax(PREFERENCES * losses)
    weights = [
        weights_of(weighting.init(3), weighting, losses) * PREFERENCES.sum() / PREFERENCES
        for weighting in (jmeta.smooth_tchebycheff(smoothing, preferences=PREFERENCES) for smoothing in (1.0, 0.1, 1e-3))
    ]
    assert largest == 1
    assert weights[0][largest] < weights[1][largest] < weights[2][largest]
    np.testing.assert_allclose(weights[2], [0, 1, 0], atol=1e-10)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"smoothing": 0.0}, "smoothing must be positive; got 0.0"),
        ({"smoothing": 1.0, "nadir_steps": (4, 4)}, "nadir_steps must be a whole number of at least 5; got 4"),
        ({"smoothing": 1.0, "nadir_steps": (-1, 4)}, "nadir_steps must be a whole number of at least 0; got -1"),
        ({"smoothing": 1.0, "preferences": [1.0, 0.0]}, "preferences must be positive; got 0.0"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.smooth_tchebycheff(**options).init(2)
