"""Proto-MAML: meta-gradients by differences, prototypical networks without a step, and a step by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.optimization_based.tasks import KEY, classification, network

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
ENCODER = network(4, 3)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_the_meta_gradient_agrees_with_central_differences(x64, num_steps):
    learner = jmeta.proto_maml(ENCODER, cross_entropy, optax.sgd(0.1), num_steps=num_steps)
    testing.check_gradient(learner.loss, learner.init(KEY, classification()), KEY, classification())


def test_without_a_step_it_is_a_prototypical_network(x64):
    episode = classification()
    ours, other = jmeta.proto_maml(ENCODER, cross_entropy, optax.sgd(0.1), num_steps=0), jmeta.prototypical_networks(ENCODER)
    params = ours.init(KEY, episode)
    got, expected = (jax.value_and_grad(learner.loss, has_aux=True)(params, KEY, episode) for learner in (ours, other))
    np.testing.assert_allclose(got[0][0], expected[0][0], rtol=1e-12)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12), got[1], expected[1])


def test_a_step_is_one_by_hand_from_the_head_of_the_prototypes(x64):
    episode = classification()
    learner = jmeta.proto_maml(ENCODER, cross_entropy, optax.sgd(0.2))
    params = learner.init(KEY, episode)
    features = ENCODER.apply(params, episode.support.x)
    centres = jnp.stack([features[jnp.flatnonzero(episode.support.y == way)].mean(axis=0) for way in range(3)])
    start = (params, 2 * centres.T, -(centres**2).sum(axis=1))

    def cost(now):
        encoder, kernel, bias = now
        logits = ENCODER.apply(encoder, episode.support.x) @ kernel + bias[None]
        return -jax.nn.log_softmax(logits)[jnp.arange(7), episode.support.y].mean()

    moved = jax.tree.map(lambda leaf, slope: leaf - 0.2 * slope, start, jax.grad(cost)(start))
    encoder, head = learner.adapt(params, KEY, episode.support, classes=episode.classes)
    got = (encoder, head["kernel"], head["bias"])
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12), got, moved)


def test_the_first_order_keeps_the_gradient_through_the_start_of_the_head(x64):
    """With a step of length 0 it is the gradient of a prototypical network."""
    episode = classification()
    learner = jmeta.proto_maml(ENCODER, cross_entropy, optax.sgd(0.0), adjoint=jmeta.first_order())
    params = learner.init(KEY, episode)
    got = jax.grad(learner.loss, has_aux=True)(params, KEY, episode)[0]
    expected = jax.grad(jmeta.prototypical_networks(ENCODER).loss, has_aux=True)(params, KEY, episode)[0]
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12), got, expected)


def test_a_class_without_support_is_refused():
    episode = classification()
    lost = episode._replace(support=episode.support._replace(y=jnp.zeros(7, int)))
    with pytest.raises(ValueError, match="support"):
        jmeta.proto_maml(ENCODER, cross_entropy, optax.sgd(0.1)).init(KEY, lost)
