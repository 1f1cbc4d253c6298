"""The geometric loss strategy against the geometric mean."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import jmeta
from tests.weighting.recurrences import draw, run, weights_of


def test_weights_are_the_derivatives_of_the_geometric_mean(x64):
    losses, _, present = draw()
    _, weights = run(jmeta.geometric_loss_strategy(), losses, present=present)
    for step, there in enumerate(present):
        if there.any():
            mean = stats.gmean(losses[step, there])
            np.testing.assert_allclose(weights[step, there], mean / (there.sum() * losses[step, there]), rtol=1e-10)


def test_a_step_descends_the_geometric_mean(x64):
    """Of 200 losses, whose product is no number; against central differences."""
    data = np.random.default_rng(0).normal(size=(200, 3))
    params, optimizer, weighting = np.array([0.3, -0.2, 0.1]), optax.sgd(1.0), jmeta.geometric_loss_strategy()

    def objective(params, key, data, *, step=0):
        value = 1e-3 * (jnp.square(data @ params - 1) + 0.1)
        return value, {"loss": value}

    step = jax.jit(jmeta.make_step(jmeta.task_losses(objective), optimizer, weighting=weighting))
    state = jmeta.init_state(jnp.asarray(params), optimizer, jax.random.key(0), tasks=200, weighting=weighting)
    moved = step(state, jnp.asarray(data))[0].params

    def mean(params):
        losses = 1e-3 * (np.square(data @ params - 1) + 0.1)
        assert np.prod(losses) == 0
        return stats.gmean(losses)

    expected = [(mean(params + 1e-5 * axis) - mean(params - 1e-5 * axis)) / 2e-5 for axis in np.eye(3)]
    # The differences are right to about the square of their step.
    np.testing.assert_allclose(params - moved, expected, rtol=1e-7)


def test_scales_of_the_losses_are_one_common_factor(x64):
    weighting = jmeta.geometric_loss_strategy()
    losses, scales = np.array([0.5, 2.0, 30.0]), np.array([1e-3, 1.0, 7.0])
    one, other = (weights_of((), weighting, values) for values in (losses, scales * losses))
    np.testing.assert_allclose(other * scales, one * stats.gmean(scales), rtol=1e-10)


def test_a_solved_task_among_many_huge_losses_has_a_finite_weight():
    weights = weights_of((), jmeta.geometric_loss_strategy(), np.array([0.0, *[1e38] * 20], np.float32))
    assert np.isfinite(weights).all()
