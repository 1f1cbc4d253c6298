"""Functions of one number against their definitions, by least squares and interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta

TASKS = 2048
DESIGNS = {
    "line": lambda x: [x, np.ones_like(x)],
    "parabola": lambda x: [x**2, x, np.ones_like(x)],
    "sinusoid": lambda x: [np.sin(x), np.cos(x)],
}


def drawn(sampler, tasks=TASKS):
    many = jmeta.batch_tasks(sampler, tasks)
    support = jax.jit(many.sample)(many.data, jax.random.key(0)).support
    return np.asarray(support.x[..., 0], np.float64), np.asarray(support.y[..., 0], np.float64)


def coefficients(x, y, design):
    """By least squares of each task, and how far the worst task is from the fit."""
    found = [np.linalg.lstsq(np.stack(design(row), axis=1), values, rcond=None)[0] for row, values in zip(x, y, strict=True)]
    rebuilt = [np.stack(design(row), axis=1) @ one for row, one in zip(x, found, strict=True)]
    return np.array(found), np.abs(np.array(rebuilt) - y).max()


def spans(values, low, high):
    """Whether values lie in an interval and reach to within 2 % of its ends, as 2,048 uniform ones do but once in e^40."""
    margin = 0.02 * (high - low)
    # Least squares of float32 targets, of which the smallest coefficient is 0.02.
    inside = low - 1e-3 <= values.min() and values.max() <= high + 1e-3
    return inside and values.min() < low + margin and values.max() > high - margin


@pytest.mark.parametrize("mode", DESIGNS)
def test_a_mode_is_a_function_of_its_kind_with_coefficients_of_the_authors_intervals(mode):
    found, away = coefficients(*drawn(jmeta.multimodal(shots=10, queries=1, modes=[mode])), DESIGNS[mode])
    assert away < 1e-4  # float32, heights up to 20
    if mode == "sinusoid":
        assert spans(np.hypot(*found.T), 0.1, 5.0)
        assert spans(np.arctan2(-found[:, 1], found[:, 0]), 0.0, np.pi)
    elif mode == "line":
        assert spans(found[:, 0], -3.0, 3.0)
        assert spans(found[:, 1], -3.0, 3.0)
    else:
        curvature, centre = found[:, 0], -found[:, 1] / (2 * found[:, 0])
        assert spans(np.abs(curvature), 0.02, 0.15)
        # Half of either sign, to five standard errors.
        assert abs((curvature > 0).mean() - 0.5) < 2.5 / np.sqrt(TASKS)
        assert spans(centre, -3.0, 3.0)
        assert spans(found[:, 2] - curvature * centre**2, -3.0, 3.0)


def test_absolute_values_are_two_lines_of_opposite_slopes_that_meet_at_a_centre():
    x, y = drawn(jmeta.multimodal(shots=64, queries=1, modes=["absolute"]), 256)
    for row, values in zip(x, y, strict=True):
        order = np.argsort(row)
        slopes = np.diff(values[order]) / np.diff(row[order])
        # All but the one across the centre are of one size; float32 at distances of 0.01 and more.
        wide = np.diff(row[order]) > 0.01
        size = np.median(np.abs(slopes[wide]))
        assert size <= 3.001
        assert (np.abs(np.abs(slopes[wide]) - size) > 1e-3 * (1 + size)).sum() <= 1


def test_all_modes_are_drawn_alike():
    x, y = drawn(jmeta.multimodal(shots=6, queries=1))
    fits = np.array(
        [
            [np.linalg.lstsq(np.stack(design(row), 1), values, rcond=None)[1].sum() < 1e-6 for design in DESIGNS.values()]
            for row, values in zip(x, y, strict=True)
        ]
    )
    line, parabola, sinusoid = fits.T
    # An absolute value is a line where all six inputs are on one side of its centre, so they are counted together.
    shares = [(line | ~(parabola | sinusoid)).mean(), (parabola & ~line).mean(), (sinusoid & ~parabola).mean()]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=5 * 0.5 / np.sqrt(TASKS))


def test_harmonics_are_sums_of_sines_of_multiples_of_one_frequency():
    sampler = jmeta.harmonic(shots=24, queries=1, terms=3, frequency=(0.7, 0.7))

    def design(x):
        return [wave(0.7 * k * x) for k in (1, 2, 3) for wave in (np.sin, np.cos)]

    found, away = coefficients(*drawn(sampler), design)
    assert away < 1e-4
    # a sin(z + b) has the square a^2 whatever b, whose mean is 1 with standard error sqrt(2 / n).
    np.testing.assert_allclose((found**2).reshape(TASKS, 3, 2).sum(axis=2).mean(axis=0), 1, atol=5 * np.sqrt(2 / TASKS))


def test_pieces_are_straight_between_even_knots():
    x, y = drawn(jmeta.piecewise(shots=64, queries=1, pieces=4, x=(0.0, 4.0)), 64)
    for row, values in zip(x, y, strict=True):
        for left in range(4):
            inside = (row > left) & (row < left + 1)
            _, away = coefficients(row[None, inside], values[None, inside], DESIGNS["line"])
            assert away < 1e-5
        assert np.abs(values).max() <= 3


def test_noise_has_its_standard_deviation():
    quiet, noisy = (drawn(jmeta.multimodal(shots=8, queries=1, noise=noise)) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(quiet[0], noisy[0])
    away = noisy[1] - quiet[1]
    # The deviation of n normal values has standard error sigma / sqrt(2 n).
    np.testing.assert_allclose(away.std(), 0.3, atol=5 * 0.3 / np.sqrt(2 * away.size))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: jmeta.multimodal(modes=["cube"]), "modes must be a sequence of some of absolute, line, parabola, sinusoid; got"),
        (lambda: jmeta.multimodal(modes="line"), "modes must be a sequence of some of .*; got 'line'"),
        (lambda: jmeta.multimodal(noise=-1.0), "noise must be a standard deviation of at least 0; got -1.0"),
        (lambda: jmeta.harmonic(terms=0), "terms must be a whole number of at least 1; got 0"),
        (lambda: jmeta.harmonic(frequency=(2.0, 1.0)), r"frequency must be an interval \(low, high\); got \(2.0, 1.0\)"),
        (lambda: jmeta.piecewise(pieces=0), "pieces must be a whole number of at least 1; got 0"),
        (lambda: jmeta.piecewise(shots=0), "shots must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_options_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_a_sampler_draws_under_jit_from_data_that_is_an_argument():
    sampler = jmeta.piecewise(shots=2, queries=1)
    wide = jax.jit(sampler.sample)(sampler.data | {"height": jnp.array([7.0, 7.0])}, jax.random.key(0))
    np.testing.assert_allclose(wide.support.y, 7.0, rtol=1e-6)
