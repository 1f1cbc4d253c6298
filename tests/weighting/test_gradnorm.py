"""GradNorm against algorithm 1, its balance, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from tests.weighting.recurrences import Adam, draw, run

KEY = jax.random.key(0)


def by_w(gradient):
    return gradient["w"]


@pytest.mark.parametrize("all_present", [True, False])
def test_weights_are_those_of_algorithm_1_for_fifty_steps(x64, all_present):
    losses, _, present = draw(all_present)
    rows = np.random.default_rng(1).normal(size=(50, 3, 4)) * [[1.0], [20.0], [0.1]] * present[..., None]
    state, weights = run(jmeta.gradnorm(optax.adam(0.025), by_w), losses, rows=rows, present=present)
    expected, first, adam = np.ones(3), np.full(3, np.nan), Adam(0.025, 3)
    for step, there in enumerate(present):
        np.testing.assert_allclose(weights[step], expected, rtol=1e-10)
        if not there.any():
            continue
        first = np.where(np.isnan(first) & there, losses[step], first)
        norms = np.linalg.norm(rows[step], axis=1)
        rates = losses[step] / first
        targets = (expected * norms)[there].mean() * (rates / rates[there].mean()) ** 1.5
        moved = adam.step(expected, norms * np.sign(expected * norms - targets), there)
        assert (moved > 1e-3).all()
        moved[there] *= (3 - moved[~there].sum()) / moved[there].sum()
        expected = moved
    np.testing.assert_allclose(state.weights.sum(), 3, rtol=1e-12)
    np.testing.assert_allclose(state.first_losses, first, rtol=1e-12)
    assert np.ptp(expected) > 0.5


def test_norms_are_pulled_to_their_targets(x64):
    """Two tasks with gradients of lengths 1 and 10, the first of which has twice as far to go."""
    rows, losses = np.array([[1.0, 0.0], [0.0, 10.0]]), np.tile([1.0, 0.5], (4000, 1))
    losses[0] = 1.0
    decaying = optax.sgd(optax.exponential_decay(1e-2, 400, 0.3))
    given = {"losses": losses, "rows": np.tile(rows, (4000, 1, 1))}
    state, _ = run(jmeta.gradnorm(decaying, by_w, restoring_force=0.0), **given)
    np.testing.assert_allclose(state.weights, [20 / 11, 2 / 11], rtol=1e-3)
    state, _ = run(jmeta.gradnorm(decaying, by_w, restoring_force=0.12), **given)
    norms = state.weights * np.array([1, 10])
    # Two targets have the mean of the norms with a force of 0 or 1 alone; in between one is met, here that of the longer gradient.
    np.testing.assert_allclose(norms[1] / norms.mean(), (0.5 / 0.75) ** 0.12, rtol=1e-3)


def test_a_part_that_is_none_is_refused():
    weighting = jmeta.gradnorm(optax.sgd(0.1), lambda gradient: {})
    with pytest.raises(ValueError, match=r"last_shared must give a part of the gradient; got \{\}, which holds no array"):
        run(weighting, np.ones((2, 3)))


def flops(weighting):
    """Of a training step of two tasks on an encoder of four layers."""
    width, rows = 128, 64

    def encoder_apply(params, x, *, key=None, mask=None):
        for weights in params:
            x = jnp.tanh(x @ weights)
        return x

    encoder = jmeta.Model(lambda key, x: [jnp.eye(width)] * 4, encoder_apply)
    head = jmeta.Model(lambda key, x: jnp.ones((width, 1)), lambda params, x, *, key=None, mask=None: x @ params)
    model = jmeta.hard_parameter_sharing(encoder, dict.fromkeys("ab", jmeta.Task(head, jmeta.squared_error)))
    batch = jmeta.Batch(jnp.ones((rows, width)), {"a": jnp.ones((rows, 1)), "b": jnp.zeros((rows, 1))})
    optimizer = optax.sgd(0.1)
    state = jmeta.init_state(model.init(KEY, batch), optimizer, KEY, tasks=model.names, weighting=weighting)
    step = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]


def test_only_the_last_shared_layer_is_differentiated_for_each_task():
    """The forward pass has 4 products, the backward pass 7; one task's norm adds 1 of the last layer or 7 of the encoder."""
    equal = flops(jmeta.equal_weighting())
    last = flops(jmeta.gradnorm(optax.adam(0.025), lambda gradient: gradient.encoder[-1]))
    whole = flops(jmeta.gradnorm(optax.adam(0.025), lambda gradient: gradient.encoder))
    # Beside the products of the layers there are a few percent.
    assert last / equal == pytest.approx(13 / 11, rel=0.05)
    assert whole / equal == pytest.approx(25 / 11, rel=0.05)
