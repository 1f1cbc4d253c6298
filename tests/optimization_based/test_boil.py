"""BOIL: the encoder adapts, both parts get the outer gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing

KEY = jax.random.key(0)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


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


@pytest.mark.parametrize("num_steps", [1, 3])
def test_meta_gradient_agrees_with_central_differences(x64, num_steps):
    learner = jmeta.boil(PARTS, cross_entropy, optax.sgd(0.5), num_steps=num_steps)
    testing.check_gradient(learner.loss, learner.init(KEY, episode()), KEY, episode(), tolerance=1e-6)


def test_it_is_maml_that_adapts_the_encoder(x64):
    boil = jmeta.boil(PARTS, cross_entropy, optax.sgd(0.5), num_steps=2)
    maml = jmeta.maml(
        jmeta.compose(*PARTS), cross_entropy, optax.sgd(0.5), num_steps=2, adapts=jmeta.EncoderHead(encoder=True, head=False)
    )
    params = boil.init(KEY, episode())
    got, expected = (jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode()) for learner in (boil, maml))
    chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-15)


def test_one_step_moves_the_encoder_down_the_gradient_and_keeps_the_head(x64):
    learner, task = jmeta.boil(PARTS, cross_entropy, optax.sgd(0.5)), episode()
    params = learner.init(KEY, task)
    adapted = learner.adapt(params, KEY, task.support, classes=task.classes)

    hidden = np.tanh(task.support.x @ params.encoder)
    likely = jax.nn.softmax(hidden @ params.head)
    # The gradient of the cross-entropy with respect to the logits, and back through tanh.
    slopes = (likely - np.eye(3)[task.support.y]) / 6 @ params.head.T * (1 - hidden**2)
    np.testing.assert_allclose(adapted, params.encoder - 0.5 * task.support.x.T @ slopes, rtol=1e-12)
    outputs = learner.predict(params, adapted, task.query.x)
    np.testing.assert_allclose(outputs, np.tanh(task.query.x @ adapted) @ params.head, rtol=1e-12)
    path = learner.path(params, KEY, task.support, 2, classes=task.classes)
    np.testing.assert_array_equal(path[0], params.encoder)
    np.testing.assert_allclose(path[1], adapted, rtol=1e-12)


def test_unsafe_inner_optimizer_is_refused():
    with pytest.raises(ValueError, match="inner_optimizer has no finite derivative"):
        jmeta.boil(PARTS, cross_entropy, optax.adam(0.1)).init(KEY, episode())
