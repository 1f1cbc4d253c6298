"""CAVIA: meta-gradients by differences, the closed form of one step, and the context as channels of images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.optimization_based.tasks import KEY, network, regression


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_meta_gradient_agrees_with_central_differences(x64, num_steps):
    learner = jmeta.cavia(network(4, 1), jmeta.squared_error, optax.sgd(0.5), context=2, num_steps=num_steps)
    testing.check_gradient(learner.loss, learner.init(KEY, regression()), KEY, regression())


def test_a_step_of_a_linear_network_has_its_closed_form(x64):
    """The gradient at a context of 0 is twice the mean residual times the weights that the context meets."""
    episode, learner = regression(), jmeta.cavia(network(1), jmeta.squared_error, optax.sgd(0.3), context=3)
    params = learner.init(KEY, episode)
    kernel, x, y = np.asarray(params[0]), np.asarray(episode.support.x), np.asarray(episode.support.y)
    expected = -0.3 * 2 * (x @ kernel[:2] - y).mean() * kernel[2:, 0]
    adapted = learner.adapt(params, KEY, episode.support)
    np.testing.assert_allclose(adapted, expected, rtol=1e-12)
    outputs = learner.predict(params, adapted, episode.query.x)
    np.testing.assert_allclose(outputs, np.asarray(episode.query.x) @ kernel[:2] + expected @ kernel[2:, 0], rtol=1e-12)


def test_the_context_is_channels_of_an_image_that_are_the_same_everywhere(x64):
    seen = []

    def apply(params, x, *, key=None, mask=None):
        seen.append(x)
        return (x.mean(axis=(1, 2)) * params[None]).sum(axis=1, keepdims=True)

    learner = jmeta.cavia(jmeta.Model(lambda key, x: jnp.ones(x.shape[-1]), apply), jmeta.squared_error, optax.sgd(0.3), context=2)
    images = jax.random.normal(KEY, (3, 4, 5, 1))
    learner.predict(jnp.ones(3), jnp.array([2.0, -1.0]), images)
    np.testing.assert_array_equal(
        seen[-1], np.concatenate([images, np.full((3, 4, 5, 1), 2.0), np.full((3, 4, 5, 1), -1.0)], axis=-1)
    )


def test_a_context_of_whole_numbered_images_keeps_its_fractions():
    """Pixels from 0 to 255, as they are read."""
    model = jmeta.from_functions(lambda key, x: jnp.ones(x.shape[-1]), lambda params, x: x.mean(axis=(1, 2)) @ params[:, None])
    learner = jmeta.cavia(model, jmeta.squared_error, optax.sgd(0.1), context=2)
    images = jnp.arange(24, dtype=jnp.uint8).reshape(3, 2, 4, 1)
    values, still = jnp.array([0.25, -0.5]), jnp.zeros(2)
    moved = learner.predict(jnp.ones(3), values, images) - learner.predict(jnp.ones(3), still, images)
    np.testing.assert_allclose(moved, np.full((3, 1), -0.25), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: jmeta.cavia(network(1), jmeta.squared_error, optax.sgd(0.1), context=0), "context must be"),
        (lambda: jmeta.cavia(None, jmeta.squared_error, optax.sgd(0.1)), "model must be a Model"),
    ],
)
def test_bad_input_gets_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()
