"""MAML and FOMAML against central differences, closed forms and each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing

KEY = jax.random.key(0)


def dense(sizes, activation, dtype=float):
    """A multilayer perceptron as two bare functions."""

    def init(key, x):
        keys = jax.random.split(key, len(sizes))
        widths = zip(keys, (x.shape[-1], *sizes[:-1]), sizes, strict=True)
        return [(jax.random.normal(k, (a, b), dtype) / a**0.5, 0.1 * jnp.ones(b, dtype)) for k, a, b in widths]

    def apply(params, x, *, key=None, mask=None):
        del key, mask
        *hidden, (last, bias) = params
        for weights, shift in hidden:
            x = activation(x @ weights + shift[None])
        return x @ last + bias[None]

    return jmeta.Model(init, apply)


def regression(tasks=None, dtype=float):
    keys = jax.random.split(KEY, 4)
    lead = () if tasks is None else (tasks,)
    draw = lambda key, rows, columns: jax.random.normal(key, (*lead, rows, columns), dtype)  # noqa: E731
    return jmeta.Episode(
        jmeta.Batch(draw(keys[0], 5, 2), draw(keys[1], 5, 1)), jmeta.Batch(draw(keys[2], 4, 2), draw(keys[3], 4, 1))
    )


OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.05, eps_root=1e-8),
}


CASES = [*itertools.product(OPTIMIZERS, [1, 3, 10], [jnp.tanh]), ("adam", 3, jax.nn.softplus)]


@pytest.mark.parametrize(("optimizer", "num_steps", "activation"), CASES)
def test_meta_gradient_agrees_with_central_differences(x64, optimizer, num_steps, activation):
    model = dense((3, 1), activation)
    learner = jmeta.maml(model, jmeta.squared_error, OPTIMIZERS[optimizer], num_steps=num_steps)
    episode = regression()
    testing.check_gradient(learner.loss, learner.init(KEY, episode), KEY, episode, tolerance=1e-6)


def test_first_order_gradient_is_the_gradient_at_the_adapted_point(x64):
    model, episode = dense((4, 1), jnp.tanh), regression()
    learner = jmeta.maml(model, jmeta.squared_error, optax.adam(0.1), num_steps=3, adjoint=jmeta.first_order())
    params = learner.init(KEY, episode)
    got = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]

    loss = lambda params, batch: jnp.square(model.apply(params, batch.x) - batch.y).mean()  # noqa: E731
    optimizer, adapted = optax.adam(0.1), params
    state, gradient = optimizer.init(params), jax.jit(jax.grad(loss))
    for _ in range(3):
        updates, state = optimizer.update(gradient(adapted, episode.support), state)
        adapted = optax.apply_updates(adapted, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), got, gradient(adapted, episode.query))


def test_no_inner_steps_are_pretraining_on_the_query(x64):
    model, episode = dense((4, 1), jnp.tanh), regression()
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=0)
    params = learner.init(KEY, episode)
    value, _ = learner.loss(params, KEY, episode)
    np.testing.assert_allclose(value, jnp.square(model.apply(params, episode.query.x) - episode.query.y).mean(), rtol=1e-12)


def test_meta_gradient_of_a_linear_model_has_its_closed_form(x64):
    """The squared error of a linear model without hidden layer is a quadratic: H = 2 X^T X / n."""
    model = jmeta.Model(lambda key, x: jnp.ones((2, 1)), lambda params, x, *, key=None, mask=None: x @ params)
    episode = regression()
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=3)
    params = learner.init(KEY, episode)
    got = jax.grad(learner.loss, has_aux=True)(params, KEY, episode)[0]

    (x, y, _), (query_x, query_y, _) = (jax.device_get(batch) for batch in (episode.support, episode.query))
    adapted, contraction = np.ones((2, 1)), np.eye(2) - 0.1 * 2 * x.T @ x / len(x)
    for _ in range(3):
        adapted = adapted - 0.1 * 2 * x.T @ (x @ adapted - y) / len(x)
    outer = 2 * query_x.T @ (query_x @ adapted - query_y) / len(query_x)
    np.testing.assert_allclose(got, np.linalg.matrix_power(contraction, 3) @ outer, rtol=1e-12)


def test_path_reaches_adapt_and_goes_beyond():
    model, episode = dense((4, 1), jnp.tanh), regression()
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=2)
    params = learner.init(KEY, episode)
    path = learner.path(params, KEY, episode.support, 4)
    adapted = learner.adapt(params, KEY, episode.support)
    jax.tree.map(lambda along, p: np.testing.assert_array_equal(along[0], p), path, params)
    # Two programs may round differently.
    jax.tree.map(lambda along, end: np.testing.assert_allclose(along[2], end, rtol=1e-6), path, adapted)
    support = episode.support
    losses = [
        float(jnp.square(model.apply(jax.tree.map(lambda along: along[step], path), support.x) - support.y).mean())  # noqa: B023
        for step in range(5)
    ]
    assert losses == sorted(losses, reverse=True)


def test_unsafe_inner_optimizer_and_negative_steps_are_refused():
    model = dense((1,), jnp.tanh)
    with pytest.raises(ValueError, match="inner_optimizer has no finite derivative"):
        jmeta.maml(model, jmeta.squared_error, optax.adam(0.1))
    with pytest.raises(ValueError, match="num_steps must be a whole number of at least 0; got -1"):
        jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=-1)
