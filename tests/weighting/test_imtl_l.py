"""IMTL-L against its recurrence, its joint sum and its stationary point."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from tests.weighting.recurrences import Adam, draw, run


def test_weights_are_those_of_adam_by_hand_for_fifty_steps(x64):
    losses, _, present = draw()
    state, weights = run(jmeta.imtl_l(optax.adam(0.1)), losses, present=present)
    scales, adam = np.zeros(3), Adam(0.1, 3)
    for step, there in enumerate(present):
        np.testing.assert_allclose(weights[step, there], np.exp(scales)[there], rtol=1e-10)
        scales = adam.step(scales, np.exp(scales) * losses[step] - 1, there)
    np.testing.assert_allclose(state.log_scales, scales, rtol=1e-10)


def test_one_step_descends_the_joint_sum_in_parameters_and_scales(x64):
    data = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    params, weighting = jnp.array([0.3, -0.8]), jmeta.imtl_l(optax.sgd(0.05))

    def objective(params, key, data, *, step=0):
        value = jnp.square(jnp.tanh(params * data).sum() - 1)
        return value, {"loss": value}

    def joint(params, scales):
        return (jnp.exp(scales) * jax.vmap(lambda row: objective(params, None, row)[0])(data) - scales).sum()

    step = jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=weighting)
    state = jmeta.init_state(params, optax.sgd(0.1), jax.random.key(0), tasks=3, weighting=weighting)
    scales = jnp.array([0.5, -1.0, 0.1])
    after, _ = jax.jit(step)(state._replace(memory=state.memory._replace(log_scales=scales)), data)
    by_params, by_scales = jax.jit(jax.grad(joint, argnums=(0, 1)))(params, scales)
    np.testing.assert_allclose(after.params, params - 0.1 * by_params, rtol=1e-10)
    np.testing.assert_allclose(after.memory.log_scales, scales - 0.05 * by_scales, rtol=1e-10)


def test_scaled_losses_become_one(x64):
    losses = np.array([0.5, 2.0, 10.0])
    _, weights = run(jmeta.imtl_l(optax.sgd(0.1)), np.tile(losses, (400, 1)))
    np.testing.assert_allclose(weights[-1] * losses, 1, rtol=1e-10)


def test_a_loss_that_was_zero_for_long_may_become_huge():
    weighting = jmeta.imtl_l(optax.adam(0.1))
    state = weighting.init(2)._replace(log_scales=jnp.array([1000.0, 0.0]))
    given = {"present": np.ones(2, bool), "key": None, "pullback": None}
    weights, state = jax.jit(lambda *known: weighting.weigh(*known, **given))(state, jnp.array([1e30, 1e30]))
    assert np.isfinite(weights).all()
    chex.assert_tree_all_finite(state)
