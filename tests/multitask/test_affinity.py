"""What a step on one task does to the losses of the others: of quadratics, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from tests.multitask.models import KEY, TASKS, initial, layer, rows

GOALS = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])


def quadratics(params, key, data, *, step=0):
    """``|theta - goal|^2 / 2`` of each task, times what the data says."""
    del key, step
    losses = jnp.square(params[None] - GOALS).sum(axis=1) / 2
    return losses * data, {}


def test_affinity_is_the_relative_fall_of_each_loss_after_a_step_on_each_task(x64):
    params = jnp.array([0.5, 0.7])
    found = jax.jit(jmeta.task_affinity(quadratics, step_size=0.1))(params, KEY, jnp.ones(3))
    loss = lambda theta, goal: 0.5 * np.square(theta - goal).sum()  # noqa: E731
    expected = [
        [1 - loss(params - 0.1 * (params - goals), other) / loss(params, other) for other in np.asarray(GOALS)]
        for goals in np.asarray(GOALS)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_loss_of_nothing_says_nothing():
    found = jmeta.task_affinity(quadratics, step_size=0.1)(jnp.array([0.5, 0.7]), KEY, jnp.array([1.0, 0.0, 1.0]))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(np.asarray(found)[[0, 0, 2, 2], [0, 2, 0, 2]]).all()


def test_of_a_model_what_is_shared_moves_and_heads_stay(x64):
    model, x = jmeta.hard_parameter_sharing(layer(4), TASKS), rows(3)
    data = jmeta.Batch(x, {"kind": jnp.arange(6) % 3, "pose": rows(2, seed=2)})
    params = initial(model, x)
    found = jax.jit(jmeta.task_affinity(model.joint_losses, step_size=lambda step: 0.2))(params, KEY, data)
    before = model.joint_losses(params, KEY, data)[0]
    for at in range(2):
        slope = jax.grad(lambda encoder: model.joint_losses(params._replace(encoder=encoder), KEY, data)[0][at])(params.encoder)  # noqa: B023
        after = model.joint_losses(params._replace(encoder=params.encoder - 0.2 * slope), KEY, data)[0]
        np.testing.assert_allclose(found[at], 1 - after / before, rtol=1e-9)


def test_cosines_are_those_of_the_shared_gradients(x64):
    model, x = jmeta.hard_parameter_sharing(layer(4), TASKS), rows(3)
    data = jmeta.Batch(x, {"kind": jnp.arange(6) % 3, "pose": rows(2, seed=2)})
    params = initial(model, x)
    found = jax.jit(jmeta.aggregation.gradient_cosines(jmeta.joint_gradients(model.joint_losses)))(params, KEY, data)
    slopes = np.asarray(
        jax.jacobian(lambda encoder: model.joint_losses(params._replace(encoder=encoder), KEY, data)[0])(params.encoder)
    )
    flat = slopes.reshape(2, -1)
    lengths = np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(found, flat @ flat.T / np.outer(lengths, lengths), rtol=1e-9)


def test_what_gives_no_losses_or_no_gradients_is_refused():
    model = jmeta.hard_parameter_sharing(layer(4), TASKS)
    with pytest.raises(ValueError, match="from which affinity takes gradients; got gradients"):
        jmeta.task_affinity(jmeta.joint_gradients(model.joint_losses), step_size=0.1)
    with pytest.raises(ValueError, match="gradients must be task_gradients"):
        jmeta.aggregation.gradient_cosines(model.joint_losses)


def test_measurements_leave_the_training_alone_and_are_taken_when_they_are_due():
    model, x = jmeta.hard_parameter_sharing(layer(4), TASKS), rows(3)
    data = jmeta.Batch(x, {"kind": jnp.arange(6) % 3, "pose": rows(2, seed=2)})
    optimizer = optax.sgd(0.1)
    plain = jmeta.make_step(model.joint_losses, optimizer, weighting=jmeta.equal_weighting())
    affinity = jmeta.task_affinity(model.joint_losses, step_size=0.1)
    measured = jmeta.with_measurements(plain, {"affinity": affinity}, every=2)
    start = jmeta.init_state(initial(model, x), optimizer, KEY, tasks=model.names, weighting=jmeta.equal_weighting())
    states = {}
    for name, step in (("plain", jax.jit(plain)), ("measured", jax.jit(measured))):
        state, found = start, []
        for _ in range(3):
            state, metrics = step(state, data)
            found.append(metrics)
        states[name] = state.params
    for one, other in zip(*map(jax.tree.leaves, states.values()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert [bool(np.isfinite(line["affinity"]).all()) for line in found] == [True, False, True]
    with pytest.raises(ValueError, match="every must be at least 1 step; got 0"):
        jmeta.with_measurements(plain, {}, every=0)
