"""Affinities of quadratics have a closed form; those of a network are what a loop of steps on one task each finds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, EncoderHead

KEY = jax.random.key(0)
CENTRES = {"far": [3.0, 1.0], "near": [0.5, -0.5], "other": [-2.0, 1.0]}
BELOW = {"far": 0.0, "near": 0.0, "other": 20.0}


def bowl(name):
    """Half the squared distance to a centre, and to 0 of a head of its own, less a number; absent where data says so."""

    def objective(params, key, data, *, step=0):
        del key, step
        value = 0.5 * jnp.sum(jnp.square(params.encoder - jnp.array(CENTRES[name]))) + 0.5 * params.head[name] ** 2 - BELOW[name]
        return jnp.where(data, value, 0), {"loss": value, "present": data}

    return objective


LOSSES = jmeta.task_losses({name: bowl(name) for name in CENTRES})


def parameters():
    return EncoderHead(jnp.array([0.25, 0.5]), {name: jnp.array(head) for name, head in zip(CENTRES, (1.0, 2.0, 0.5), strict=True)})


def closed_form(rate):
    shared, heads = parameters()
    slopes = np.asarray(shared) - np.array([*CENTRES.values()])
    heads, below = np.array([*heads.values()]), np.array([*BELOW.values()])
    losses = 0.5 * (slopes**2).sum(axis=1) + 0.5 * heads**2 - below
    assert losses[2] < 0 < losses[0]
    return (rate * slopes @ slopes.T - 0.5 * rate**2 * (slopes**2).sum(axis=1)[:, None]) / np.abs(losses)


def test_affinities_of_quadratics_have_a_closed_form(x64):
    data = {name: jnp.array(True) for name in CENTRES}
    affinity = jmeta.task_affinity(LOSSES, step_size=optax.linear_schedule(0.0, 1.0, 10))
    found = jax.jit(affinity)(parameters(), KEY, data, step=jnp.array(2))
    np.testing.assert_allclose(found, closed_form(0.2), rtol=1e-12)
    # A step on one helps it, and one that lies the other way is harmed.
    assert found[0, 0] > 0 > found[0, 2]


def test_an_absent_task_says_nothing_and_is_told_nothing(x64):
    data = {"far": jnp.array(True), "near": jnp.array(False), "other": jnp.array(True)}
    found = jax.jit(jmeta.task_affinity(LOSSES, step_size=0.2))(parameters(), KEY, data)
    expected = closed_form(0.2)
    expected[1, :] = expected[:, 1] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-12)


class Dropping(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dropout(0.5, deterministic=not train)(linen.Dense(4)(x))


def test_affinities_of_a_network_are_those_of_one_step_each_by_what_tasks_share():
    """With the same units dropped before and after, and labels that are missing."""
    tasks = {
        "height": jmeta.Task(jmeta.from_linen(linen.Dense(2)), jmeta.squared_error),
        "kind": jmeta.Task(jmeta.from_linen(linen.Dense(3)), optax.softmax_cross_entropy_with_integer_labels),
    }
    model = jmeta.hard_parameter_sharing(jmeta.from_linen(Dropping()), tasks)
    random = np.random.default_rng(0)
    y = {"height": random.normal(size=(8, 2)).astype(np.float32), "kind": jnp.arange(8) % 3}
    data = Batch(random.normal(size=(8, 5)).astype(np.float32), y, None, {"height": jnp.arange(8) % 2, "kind": jnp.ones(8)})
    params = model.init(KEY, data)
    found = jax.jit(jmeta.task_affinity(model.joint_losses, step_size=0.5))(params, KEY, data)
    losses = jax.jit(lambda params: model.joint_losses(params, KEY, data)[0])
    jacobian = jax.jit(jax.jacobian(losses))(params)
    for at in range(2):
        moved = jax.tree.map(lambda leaf, rows, at=at: leaf - 0.5 * rows[at], params.encoder, jacobian.encoder)
        expected = 1 - losses(params._replace(encoder=moved)) / losses(params)
        # The difference of two losses near 1, in float32.
        np.testing.assert_allclose(found[at], expected, atol=2e-6)
    assert abs(found[0, 1]) > 1e-3


def test_parameters_that_are_not_parted_are_shared_and_their_precision_stays():
    """In bfloat16 as well, in float32 at least."""

    def objective(params, key, data, *, step=0):
        del key, step
        value = jnp.square(params - data).sum()
        return value, {"loss": value}

    affinity = jax.jit(jmeta.task_affinity(jmeta.task_losses(objective), step_size=0.125))
    for dtype in (jnp.float32, jnp.bfloat16):
        found = affinity(jnp.zeros(1, dtype), KEY, jnp.array([[1.0], [-1.0]], dtype))
        assert found.dtype == jnp.float32
        # Of 1: 1 - 0.75^2 and 1 - 1.25^2, exact in either type but for bfloat16's eight bits.
        np.testing.assert_allclose(found, [[0.4375, -0.5625], [-0.5625, 0.4375]], atol=0.01 if dtype == jnp.bfloat16 else 1e-6)


def test_what_has_no_affinity_is_refused():
    with pytest.raises(ValueError, match="losses must be task_losses"):
        jmeta.task_affinity(jmeta.task_gradients({name: bowl(name) for name in CENTRES}), step_size=0.1)
    affinity = jmeta.task_affinity(lambda params, key, data, *, step=0: (params.head, {}), step_size=0.1)
    with pytest.raises(ValueError, match="params must hold something that the tasks share; got none"):
        affinity(EncoderHead((), jnp.ones(2)), KEY, ())
