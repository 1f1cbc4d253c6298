"""Tasks over four devices against the same tasks on one."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

OPTIMIZER = optax.adam(0.01)


def sinusoids(dtype):
    sampler = jmeta.batch_tasks(jmeta.sinusoid(shots=5, queries=5), 8)
    return sampler._replace(sample=lambda data, key: jax.tree.map(lambda leaf: leaf.astype(dtype), sampler.sample(data, key)))


def training(micro_batch=None, dtype=jnp.float64):
    """A step of MAML with two inner steps, and its first state."""
    model = jmeta.from_linen(MultilayerPerceptron((8, 1)))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=2)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), model.init(jax.random.key(0), jnp.ones((1, 1))))
    step = jmeta.make_step(jmeta.over_tasks(learner.loss), OPTIMIZER, micro_batch=micro_batch)
    return step, jmeta.init_state(params, OPTIMIZER, jax.random.key(1))


def assert_close(one, other, **tolerances):
    chex.assert_trees_all_close(*jax.device_get((one._replace(key=0), other._replace(key=0))), **tolerances)


@pytest.mark.parametrize("micro_batch", [None, 4, 8, 1])
def test_four_devices_train_as_one_does(x64, micro_batch):
    step, state = training(micro_batch)
    one, four = (jmeta.fit(step, state, tasks, num_steps=3)[0] for tasks in (sinusoids(float), jmeta.shard_tasks(sinusoids(float))))
    # Sums in another order.
    assert_close(four, one, rtol=1e-12, atol=1e-12)


def test_each_device_holds_a_block_of_the_tasks():
    plain = jmeta.batch_tasks(jmeta.sinusoid(shots=5, queries=5), 8)
    sharded = jmeta.shard_tasks(plain)
    found, expected = (jax.jit(sampler.sample)(sampler.data, jax.random.key(3)).query.y for sampler in (sharded, plain))
    blocks = {shard.device: np.asarray(shard.data) for shard in found.addressable_shards}
    for device, block in zip(jax.devices(), np.split(np.asarray(expected), 4), strict=True):
        np.testing.assert_array_equal(blocks[device], block)


def test_some_of_the_devices():
    sampler = jmeta.shard_tasks(sinusoids(float), jax.devices()[1:3])
    drawn = jax.jit(sampler.sample)(sampler.data, jax.random.key(0)).query.x
    assert {shard.device for shard in drawn.addressable_shards} == set(jax.devices()[1:3])


def convolutional():
    encoder = jmeta.from_linen(ConvolutionalEncoder((4, 4), pooling=False, normalization="batch"))
    model = jmeta.compose(encoder, jmeta.from_linen(MultilayerPerceptron((5,))))
    learner = jmeta.maml(model, optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.1))
    images = np.random.default_rng(0).random((40, 8, 8, 1), np.float32)
    tasks = jmeta.batch_tasks(jmeta.from_arrays(images, np.arange(40) // 8, ways=5, shots=1, queries=3), 8)
    step = jmeta.make_step(jmeta.over_tasks(learner.loss), OPTIMIZER, micro_batch=4)
    params = model.init(jax.random.key(0), images)
    return step, jmeta.init_state(params, OPTIMIZER, jax.random.key(1)), tasks


def test_devices_train_a_convolutional_network_as_one_does_and_talk_once_a_step():
    step, state, tasks = convolutional()
    found = []
    for sampler in (tasks, jmeta.shard_tasks(tasks)):
        drawn = jax.jit(sampler.sample)(sampler.data, jax.random.key(0))
        program = jax.jit(step).lower(state, drawn).compile()
        found.append((program(state, drawn)[0], program.as_text()))
    # Adam's first step is a sign: compare its moments, sums of some hundred float32 products.
    (one, _), (four, text) = found
    np.testing.assert_allclose(*map(flat, (four, one)), rtol=1e-4, atol=1e-6)
    assert re.findall(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text) == ["all-reduce"]


def flat(state):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(state.optimizer_state))])


def test_a_sharded_training_resumes_bit_for_bit(tmp_path):
    step, state = training(4, jnp.float32)
    tasks = jmeta.shard_tasks(sinusoids(jnp.float32))
    jmeta.fit(step, state, tasks, num_steps=2, steps_per_chunk=2, directory=tmp_path)
    resumed = jmeta.fit(step, state, tasks, num_steps=4, steps_per_chunk=2, directory=tmp_path, resume=True)[0]
    assert_close(resumed, jmeta.fit(step, state, tasks, num_steps=4, steps_per_chunk=2)[0], rtol=0, atol=0)


def test_tasks_must_divide_over_the_devices():
    sampler = jmeta.shard_tasks(jmeta.batch_tasks(jmeta.sinusoid(shots=5, queries=5), 6))
    with pytest.raises(ValueError, match="tasks must be a multiple of the number of devices; got 6 tasks and 4 devices"):
        sampler.sample(sampler.data, jax.random.key(0))
    with pytest.raises(ValueError, match="devices must name at least one device; got none"):
        jmeta.shard_tasks(sampler, [])
