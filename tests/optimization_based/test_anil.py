"""ANIL: the head adapts, both parts get the outer gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing

KEY = jax.random.key(0)


def linear(features, activation=lambda x: x):
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: activation(x @ params),
    )


PARTS = jmeta.EncoderHead(linear(4, jnp.tanh), linear(3))


def episode():
    keys = jax.random.split(KEY, 2)
    return jmeta.Episode(
        jmeta.Batch(jax.random.normal(keys[0], (6, 2)), jnp.arange(6) % 3),
        jmeta.Batch(jax.random.normal(keys[1], (5, 2)), jnp.arange(5) % 3),
        jnp.ones(3, bool),
    )


cross_entropy = optax.softmax_cross_entropy_with_integer_labels


@pytest.mark.parametrize("optimizer", [optax.sgd(0.5), optax.adam(0.1, eps_root=1e-8)], ids=["sgd", "adam"])
def test_meta_gradient_agrees_with_central_differences(x64, optimizer):
    learner = jmeta.anil(PARTS, cross_entropy, optimizer, num_steps=3)
    testing.check_gradient(learner.loss, learner.init(KEY, episode()), KEY, episode(), tolerance=1e-6)


def test_only_the_head_adapts_as_maml_on_fixed_features_would(x64):
    learner = jmeta.anil(PARTS, cross_entropy, optax.sgd(0.5), num_steps=3)
    task = episode()
    params = learner.init(KEY, task)
    adapted = learner.adapt(params, KEY, task.support)
    features = task.support._replace(x=jnp.tanh(task.support.x @ params.encoder))
    expected = jmeta.maml(PARTS.head, cross_entropy, optax.sgd(0.5), num_steps=3).adapt(params.head, KEY, features)
    np.testing.assert_allclose(adapted, expected, rtol=1e-12)
    outputs = learner.predict(params, adapted, task.query.x)
    np.testing.assert_allclose(outputs, jnp.tanh(task.query.x @ params.encoder) @ expected, rtol=1e-12)


def test_the_encoder_runs_once_per_support_set():
    """The trace of an adaptation calls the encoder once, whatever the number of steps."""
    calls = []

    def apply(params, x, *, key=None, mask=None):
        calls.append(x.shape)
        return x @ params

    encoder = jmeta.Model(PARTS.encoder.init, apply)
    learner = jmeta.anil(jmeta.EncoderHead(encoder, PARTS.head), cross_entropy, optax.sgd(0.5), num_steps=20)
    params = jmeta.compose(*PARTS).init(KEY, episode().support.x)
    jax.eval_shape(learner.adapt, params, KEY, episode().support)
    assert calls == [(6, 2)]


def test_path_holds_heads_and_passes_through_adapt(x64):
    learner = jmeta.anil(PARTS, cross_entropy, optax.sgd(0.5), num_steps=2)
    params = learner.init(KEY, episode())
    path = learner.path(params, KEY, episode().support, 3)
    assert path.shape == (4, 4, 3)
    np.testing.assert_array_equal(path[0], params.head)
    np.testing.assert_allclose(path[2], learner.adapt(params, KEY, episode().support), rtol=1e-12)


def test_it_is_maml_that_adapts_the_head(x64):
    anil = jmeta.anil(PARTS, cross_entropy, optax.sgd(0.5), num_steps=2)
    maml = jmeta.maml(
        jmeta.compose(*PARTS), cross_entropy, optax.sgd(0.5), num_steps=2, adapts=jmeta.EncoderHead(encoder=False, head=True)
    )
    params = anil.init(KEY, episode())
    got, expected = (jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode()) for learner in (anil, maml))
    chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-15)


def test_unsafe_inner_optimizer_is_refused():
    with pytest.raises(ValueError, match="inner_optimizer has no finite derivative"):
        jmeta.anil(PARTS, cross_entropy, optax.adam(0.1)).init(KEY, episode())
