"""Every weighting trains a small network, on one input and on a batch of tasks, and goes on from its state alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from tests.test_families import WEIGHTINGS

KEY = jax.random.key(0)
NAMES = ("age", "kind")


def linear(features):
    return jmeta.Model(
        lambda key, x: 0.3 * jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params),
    )


TASKS = {"age": jmeta.Task(linear(1), jmeta.squared_error), "kind": jmeta.Task(linear(2), jmeta.squared_error)}


def data():
    """Eight rows, of which the last three have no kind."""
    x = jax.random.normal(KEY, (8, 3))
    y = {"age": 0.5 * jnp.tanh(x[:, :1]), "kind": (0.5 * jnp.tanh(x[:, 1:])).at[5:].set(jnp.nan)}
    return jmeta.Batch(x, y, None, {"age": jnp.ones(8), "kind": (jnp.arange(8) < 5) * 1.0})


def of_batches(params, key, data, *, step=0):
    """The loss of one of several tasks that share everything."""
    del key, step
    value = jnp.square(data[0] @ params["w"] - data[1]).mean()
    return value, {"loss": value}


def without_keys(states):
    return tuple(state._replace(key=()) for state in states)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_trains_and_goes_on_from_its_state_bit_for_bit(name):
    """Twenty steps in one go, and in two with nothing kept between them but arrays."""
    weighting, optimizer, batch = WEIGHTINGS[name], optax.adam(0.02), data()
    model = jmeta.hard_parameter_sharing(linear(4), TASKS)
    joint = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    of_tasks = jmeta.make_step(jmeta.task_losses(of_batches), optimizer, weighting=weighting)
    keys = jax.random.split(KEY, 2)
    tasks = (jax.random.normal(keys[0], (3, 6, 2)), jax.random.normal(keys[1], (3, 6)))
    start = (
        jmeta.init_state(model.init(KEY, batch), optimizer, KEY, tasks=model.names, weighting=weighting),
        jmeta.init_state({"w": jnp.zeros(2)}, optimizer, KEY, tasks=3, weighting=weighting),
    )

    @jax.jit
    def ten_steps(states):
        def step(states, _):
            (one, found), (other, metrics) = joint(states[0], batch), of_tasks(states[1], tasks)
            return (one, other), (found["loss"], metrics["loss"])

        return jax.lax.scan(step, states, None, length=10)

    middle, losses = ten_steps(start)
    end, later = ten_steps(middle)
    for before, after in zip(losses, later, strict=True):
        assert np.isfinite(before).all()
        assert after[-1] < before[0]
    kept = jax.tree.map(np.asarray, without_keys(middle))
    restored, _ = ten_steps(tuple(state._replace(key=KEY) for state in kept))
    chex.assert_trees_all_equal(without_keys(restored), without_keys(end))
