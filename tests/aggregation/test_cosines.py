"""Cosines of task gradients are those of NumPy, of what the tasks share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, EncoderHead

KEY = jax.random.key(0)


def in_numpy(rows):
    lengths = np.linalg.norm(rows, axis=1)
    return rows @ rows.T / np.outer(lengths, lengths)


def linear(params, key, data, *, step=0):
    """Its gradient is the data."""
    del key, step
    value = sum(jnp.vdot(leaf, slope) for leaf, slope in zip(jax.tree.leaves(params), jax.tree.leaves(data), strict=True))
    return value.astype(jnp.float32), {"loss": value}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cosines_are_those_of_the_rows_and_a_zero_gradient_has_none(dtype):
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32) * np.array([[1e-12], [1.0], [1e12], [0.0]], np.float32)
    rows = np.array(jnp.asarray(rows, dtype), np.float64)
    data = {"w": jnp.asarray(rows[:, :4].reshape(4, 2, 2), dtype), "b": jnp.asarray(rows[:, 4:], dtype)}
    params = {"w": jnp.zeros((2, 2), dtype), "b": jnp.zeros(2, dtype)}
    found = jax.jit(jmeta.gradient_cosines(jmeta.task_gradients(linear)))(params, KEY, data)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[:3, :3], in_numpy(rows[:3]), atol=1e-5)
    assert np.isnan(found[3]).all()
    assert np.isnan(found[:, 3]).all()


def test_only_what_tasks_share_is_compared():
    shared, own = jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([[5.0], [5.0]])
    params = EncoderHead(jnp.zeros(2), jnp.zeros(1))
    found = jax.jit(jmeta.gradient_cosines(jmeta.task_gradients(linear)))(params, KEY, EncoderHead(shared, own))
    np.testing.assert_array_equal(found, [[1, -1], [-1, 1]])


@pytest.mark.parametrize("by", ["parameters", "features"])
def test_cosines_of_losses_that_are_computed_together(by):
    tasks = {name: jmeta.Task(jmeta.from_linen(linen.Dense(2)), jmeta.squared_error) for name in ("here", "there")}
    model = jmeta.hard_parameter_sharing(jmeta.from_linen(linen.Dense(3)), tasks)
    random = np.random.default_rng(1)
    x, *y = (random.normal(size=(6, columns)).astype(np.float32) for columns in (4, 2, 2))
    data = Batch(x, dict(zip(tasks, y, strict=True)))
    params = model.init(KEY, data)
    gradients = jmeta.joint_gradients(model.joint_losses, with_respect_to=by)
    found = jax.jit(jmeta.gradient_cosines(gradients))(params, KEY, data)
    features = x @ params.encoder["kernel"] + params.encoder["bias"][None]
    rows = []
    for name, target in data.y.items():
        head = params.head[name].head
        slope = 2 * (features @ head["kernel"] + head["bias"][None] - target) @ head["kernel"].T / target.size
        rows.append(np.ravel(slope) if by == "features" else np.concatenate([np.ravel(x.T @ slope), slope.sum(axis=0)]))
    np.testing.assert_allclose(found, in_numpy(np.stack(rows)), atol=1e-5)


def test_an_absent_task_has_no_cosine_and_the_mean_over_a_training_leaves_it_out():
    """Measured in every step of a training by an aggregator, one of whose tasks is there in every second step."""

    def objective(params, key, data, *, step=0):
        slope, present = data
        value, metrics = linear(params, key, slope, step=step)
        return jnp.where(present, value, 0), metrics | {"present": present}

    gradients = jmeta.task_gradients({"always": objective, "sometimes": objective})
    surgery = jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1))
    step = jmeta.with_measurements(jmeta.make_step(gradients, surgery), {"cosines": jmeta.gradient_cosines(gradients)})
    state = jmeta.init_state(jnp.ones(2), surgery, KEY, tasks=2)
    lines = []

    def data(index):
        return {"always": (jnp.array([1.0, 0.0]), True), "sometimes": (jnp.array([3.0, -4.0]), np.array(index % 2 == 0))}

    jmeta.fit(step, state, data, num_steps=4, callbacks=[lambda *line: lines.append(line[1])])
    np.testing.assert_allclose(lines[0]["cosines"], [[1, 0.6], [0.6, 1]], rtol=1e-6)


def test_a_loss_has_no_gradients_to_compare():
    with pytest.raises(ValueError, match="gradients must be task_gradients"):
        jmeta.gradient_cosines(jmeta.task_losses(linear))
