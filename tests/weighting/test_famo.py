"""FAMO against algorithm 1 and the gradient of its objective."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from tests.weighting.recurrences import Adam, draw, run, softmax, weights_of

BOUNDS = np.array([0.1, -0.2, 0.0])


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_weights_are_those_of_algorithm_1_for_fifty_steps(x64, rule):
    """With Adam, whose decay is added to the gradient, and plainly; the Jacobian of the softmax is written out."""
    losses, after, present = draw()
    losses, after = losses + 0.2, after + 0.2
    adam = Adam(0.025, 3)
    plain = lambda logits, gradient, there: np.where(there, logits - 0.025 * gradient, logits)  # noqa: E731
    descend = adam.step if rule == "adam" else plain
    optimizer = optax.adam(0.025) if rule == "adam" else optax.sgd(0.025)
    weighting = jmeta.famo(optimizer, decay=0.01, lower_bounds=BOUNDS)
    state, weights = run(weighting, losses * present, after=after * present, present=present)
    logits = np.zeros(3)
    for step, there in enumerate(present):
        if not there.any():
            continue
        shares, excess = np.zeros(3), losses[step] - BOUNDS + 1e-8
        shares[there] = softmax(logits[there])
        expected = shares / excess / (shares / excess).sum()
        np.testing.assert_allclose(weights[step, there], expected[there], rtol=1e-10)
        fallen = np.log(excess) - np.log(after[step] - BOUNDS + 1e-8)
        jacobian = np.diag(shares) - np.outer(shares, shares)
        logits = descend(logits, jacobian.T @ fallen + 0.01 * logits, there)
    np.testing.assert_allclose(state.logits, logits, rtol=1e-10)
    assert np.ptp(logits) > 0.02


def test_weights_are_the_derivatives_of_the_paper_s_objective(x64):
    """With c as a constant; by central differences."""
    losses, logits = np.array([0.5, 2.0, 30.0]), np.array([0.3, -1.0, 0.2])
    weighting = jmeta.famo(optax.sgd(0.1), lower_bounds=BOUNDS)
    weights = weights_of(weighting.init(3)._replace(logits=jnp.asarray(logits)), weighting, losses)
    shares = softmax(logits)
    constant = 1 / (shares / (losses - BOUNDS)).sum()
    objective = lambda losses: constant * (shares * np.log(losses - BOUNDS)).sum()  # noqa: E731
    expected = [(objective(losses + 1e-5 * one) - objective(losses - 1e-5 * one)) / 2e-5 for one in np.eye(3)]
    # The differences are right to about the square of their step, the losses to the 1e-8 that is added to them.
    np.testing.assert_allclose(weights, expected, rtol=1e-7)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)


def test_the_task_that_falls_slowest_gains_weight(x64):
    """In training, where the losses after the step are those of the moved parameters on the same data."""
    data, optimizer = jnp.array([[1.0, 0.0], [0.0, 0.1]]), optax.sgd(0.1)
    weighting = jmeta.famo(optax.adam(0.1))

    def objective(params, key, data, *, step=0):
        value = jnp.square(params @ data - 1) + 0.01
        return value, {"loss": value}

    step = jmeta.make_step(jmeta.task_losses(objective), optimizer, weighting=weighting)
    state = jmeta.init_state(jnp.zeros(2), optimizer, jax.random.key(0), tasks=2, weighting=weighting)
    once = jax.jit(step)(state, data)[0]
    np.testing.assert_allclose(once.memory.logs, np.log(1.01), rtol=1e-6)
    np.testing.assert_allclose(once.params, [0.1, 0.01], rtol=1e-6)
    # Adam's first step has the length of its rate.
    np.testing.assert_allclose(once.memory.logits, [-0.1, 0.1], rtol=1e-5)
