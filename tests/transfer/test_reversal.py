"""Closed forms of the reversal and of its schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import transfer


def test_the_value_stays_and_the_derivative_turns_round(x64):
    x = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}

    def objective(x, strength):
        return jnp.sin(transfer.reverse_gradient(x, strength)["a"]).sum() + transfer.reverse_gradient(x, strength)["b"] ** 2

    value, slope = jax.jit(jax.value_and_grad(objective))(x, 0.25)
    np.testing.assert_allclose(value, np.sin([1.0, -2.0]).sum() + 9, rtol=1e-12)
    np.testing.assert_allclose(slope["a"], -0.25 * np.cos([1.0, -2.0]), rtol=1e-12)
    np.testing.assert_allclose(slope["b"], -0.25 * 6, rtol=1e-12)
    # Both modes, and no derivative for the strength.
    np.testing.assert_allclose(
        jax.jvp(lambda x: objective(x, 0.25), (x,), (x,))[1], sum(map(jnp.vdot, *map(jax.tree.leaves, (slope, x))))
    )
    assert jax.grad(objective, argnums=1)(x, 0.25) == 0


def test_types_stay():
    slope = jax.grad(lambda x: transfer.reverse_gradient(x, jnp.float32(0.5)).astype(float))(jnp.bfloat16(2))
    assert (slope.dtype, float(slope)) == (jnp.bfloat16, -0.5)


def test_the_schedule_is_that_of_the_paper(x64):
    schedule = transfer.reversal_schedule(200, gamma=10.0, peak=0.3)
    for step in (0, 20, 200):
        np.testing.assert_allclose(schedule(step), 0.3 * (2 / (1 + np.exp(-10 * step / 200)) - 1), rtol=1e-12)


def test_a_training_without_steps_is_refused():
    with pytest.raises(ValueError, match="num_steps must be positive; got 0"):
        transfer.reversal_schedule(0)
