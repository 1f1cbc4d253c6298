"""The sinusoid tasks against the paper's distribution and against quadrature."""

import hashlib
import math

import jax
import numpy as np
import pytest

import jmeta

pytestmark = pytest.mark.usefixtures("usual_compilation")
TASKS = 4096


@pytest.fixture(scope="module")
def episodes():
    sampler = jmeta.batch_tasks(jmeta.sinusoid(shots=10, queries=10), TASKS)
    episodes = jax.jit(sampler.sample)(sampler.data, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), episodes)


def recovered(episodes):
    """Amplitude and phase of each task by least squares on y = a sin(x) + b cos(x), of two rows each."""
    x = np.concatenate([episodes.support.x, episodes.query.x], axis=1)[..., 0]
    y = np.concatenate([episodes.support.y, episodes.query.y], axis=1)[..., 0]
    design = np.stack([np.sin(x), np.cos(x)], axis=-1)
    found = np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(design, y, strict=True)])
    residual = np.einsum("tnk,tk->tn", design, found) - y
    # A sin(x - phase) = A cos(phase) sin(x) - A sin(phase) cos(x).
    return np.hypot(*found.T), np.arctan2(-found[:, 1], found[:, 0]), np.abs(residual).max()


def largest_gap(values, low, high):
    """The Kolmogorov-Smirnov distance to the uniform distribution on an interval."""
    values = np.sort((values - low) / (high - low))
    ranks = np.arange(len(values))
    return max(np.max((ranks + 1) / len(values) - values), np.max(values - ranks / len(values)))


def test_every_task_is_a_sine_of_the_papers_distribution(episodes):
    amplitude, phase, residual = recovered(episodes)
    assert residual < 1e-5  # float32 sines of height 5
    for values, low, high in [(amplitude, 0.1, 5.0), (phase, 0.0, math.pi), (episodes.query.x.ravel()[::10], -5.0, 5.0)]:
        assert values.min() > low - 1e-4
        assert values.max() < high + 1e-4
        # The distance exceeds 1.95 / sqrt(n) with probability 1e-3 under the right distribution.
        assert largest_gap(values, low, high) < 1.95 / math.sqrt(len(values))


def test_the_statistic_tells_a_wrong_amplitude(episodes):
    # An upper bound of 0.5 instead of 5 is an error of an earlier library.
    amplitude, _, _ = recovered(episodes)
    assert largest_gap(np.minimum(amplitude, 4.5), 0.1, 5.0) > 1.95 / math.sqrt(TASKS)


def test_amplitude_and_phase_and_inputs_are_independent(episodes):
    amplitude, phase, _ = recovered(episodes)
    correlations = np.corrcoef(np.stack([amplitude, phase, episodes.support.x[:, 0, 0], episodes.query.x[:, 0, 0]]))
    # Each is 0 with standard error 1 / sqrt(n): 4 standard errors over 6 pairs.
    assert np.abs(correlations - np.eye(4)).max() < 4 / math.sqrt(TASKS)


def moments():
    """E[A], E[A^2] of A ~ U[0.1, 5] in closed form."""
    return (0.1 + 5.0) / 2, (5.0**3 - 0.1**3) / (3 * (5.0 - 0.1))


def quadrature(function):
    """Mean over x in [-5, 5] and phase in [0, pi] by midpoints."""
    x = -5 + 10 * (np.arange(2000) + 0.5) / 2000
    phase = math.pi * (np.arange(2000) + 0.5) / 2000
    return function(x[:, None], phase[None])


def test_predicting_zero_costs_4_25(episodes):
    _, second = moments()
    assert second == pytest.approx(8.50, abs=0.005)
    # Averaged over phase in [0, pi], sin^2(x - phase) is exactly 1/2: its period is pi.
    exact = second / 2
    assert exact == pytest.approx(4.25, abs=0.005)
    per_task = np.square(episodes.query.y).mean(axis=(1, 2))
    assert per_task.mean() == pytest.approx(exact, abs=4 * per_task.std() / math.sqrt(TASKS))


def test_the_best_function_of_x_alone_costs_3_01(episodes):
    first, second = moments()
    # The best function is E[y | x] = E[A] * mean over phase of sin(x - phase) = -E[A] * 2 cos(x) / pi.
    exact = second / 2 - np.square(quadrature(lambda x, phase: first * np.sin(x - phase)).mean(axis=1)).mean()
    assert exact == pytest.approx(3.01, abs=0.005)
    errors = np.square(episodes.query.y + first * 2 / math.pi * np.cos(episodes.query.x)).mean(axis=(1, 2))
    assert errors.mean() == pytest.approx(exact, abs=4 * errors.std() / math.sqrt(TASKS))


@pytest.mark.parametrize("wrap", [lambda function: function, jax.jit], ids=["eager", "jit"])
def test_an_episode_is_the_same_on_every_stack(wrap):
    sampler = jmeta.sinusoid()
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(wrap(sampler.sample)(sampler.data, jax.random.key(7))):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    assert digest.hexdigest()[:16] == "9156f787a0027b40"


def test_support_and_query_share_one_curve_and_no_input():
    sampler = jmeta.sinusoid(shots=3, queries=4, amplitude=(2.0, 2.0), phase=(0.5, 0.5))
    episode = sampler.sample(sampler.data, jax.random.key(1))
    assert (episode.support.x.shape, episode.query.y.shape) == ((3, 1), (4, 1))
    for batch in episode[:2]:
        np.testing.assert_allclose(batch.y, 2 * np.sin(np.asarray(batch.x) - 0.5), atol=1e-5)
    assert not set(np.ravel(episode.support.x)) & set(np.ravel(episode.query.x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "shots must be a whole number of at least 1; got 0"),
        ({"queries": 2.5}, "queries must be a whole number of at least 1; got 2.5"),
        ({"amplitude": (5.0, 0.1)}, "amplitude must be an interval"),
        ({"phase": (1.0, math.nan)}, "phase must be an interval"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.sinusoid(**options)
