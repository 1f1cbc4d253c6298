"""Meta-SGD: weights and step sizes against central differences, a closed form, and MAML."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.optimization_based.tasks import KEY, regression

LINEAR = jmeta.Model(lambda key, x: jnp.ones((x.shape[-1], 1)), lambda params, x, *, key=None, mask=None: x @ params)


def hidden():
    def init(key, x):
        first, second = jax.random.split(key)
        return {"first": jax.random.normal(first, (x.shape[-1], 3)), "second": jax.random.normal(second, (3, 1))}

    return jmeta.Model(init, lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params["first"]) @ params["second"])


def varied(params):
    """Rates that differ, one of them negative, so that none stands for another."""
    leaves, structure = jax.tree.flatten(params["rates"])
    rates = [jnp.linspace(-0.05, 0.1 + at / 10, leaf.size).reshape(leaf.shape) for at, leaf in enumerate(leaves)]
    return params | {"rates": jax.tree.unflatten(structure, rates)}


@pytest.mark.parametrize("num_steps", [1, 3])
def test_meta_gradient_agrees_with_central_differences(x64, num_steps):
    learner = jmeta.meta_sgd(hidden(), jmeta.squared_error, num_steps=num_steps)
    params = varied(learner.init(KEY, regression()))
    testing.check_gradient(learner.loss, params, KEY, regression(), tolerance=1e-6)


def test_an_implicit_adjoint_is_refused_which_gives_rates_no_gradient():
    with pytest.raises(ValueError, match=r"adjoint must be unrolled\(\) or first_order\(\).*got implicit\(\)"):
        jmeta.meta_sgd(hidden(), jmeta.squared_error, adjoint=jmeta.implicit(proximal_strength=1.0))


def test_gradients_of_weights_and_rates_of_a_linear_model_have_their_closed_form(x64):
    """Two steps on a quadratic: the derivative of a step is I - diag(rates) H for the weights, and -gradient for the rates."""
    episode = regression()
    learner = jmeta.meta_sgd(LINEAR, jmeta.squared_error, num_steps=2)
    params = varied(learner.init(KEY, episode))
    got = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]

    (x, y, *_), (query_x, query_y, *_) = (jax.device_get(batch) for batch in (episode.support, episode.query))
    start, rates = jax.device_get((params["initial"], params["rates"]))
    hessian, slope = 2 * x.T @ x / len(x), lambda weights: 2 * x.T @ (x @ weights - y) / len(x)
    first = start - rates * slope(start)
    second = first - rates * slope(first)
    outer = 2 * query_x.T @ (query_x @ second - query_y) / len(query_x)
    back = outer - hessian @ (rates * outer)
    np.testing.assert_allclose(got["initial"], back - hessian @ (rates * back), rtol=1e-12)
    np.testing.assert_allclose(got["rates"], -slope(first) * outer - slope(start) * back, rtol=1e-12)


def test_with_equal_rates_it_is_maml(x64):
    episode, maml = regression(), jmeta.maml(hidden(), jmeta.squared_error, optax.sgd(0.1), num_steps=3)
    learner = jmeta.meta_sgd(hidden(), jmeta.squared_error, initial_rate=0.1, num_steps=3)
    params = learner.init(KEY, episode)
    weights = maml.init(KEY, episode)
    chex.assert_trees_all_equal(params["initial"], weights)
    got = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode)
    expected = jax.jit(jax.value_and_grad(maml.loss, has_aux=True))(weights, KEY, episode)
    chex.assert_trees_all_close((got[0], got[1]["initial"]), expected, rtol=1e-12)


def test_rates_learn_under_first_order_too(x64):
    """Inner gradients are constants then, the rates are not."""
    episode = regression()
    learner = jmeta.meta_sgd(LINEAR, jmeta.squared_error, adjoint=jmeta.first_order())
    params = varied(learner.init(KEY, episode))
    got = jax.grad(learner.loss, has_aux=True)(params, KEY, episode)[0]
    (x, y, *_), (query_x, query_y, *_) = (jax.device_get(batch) for batch in (episode.support, episode.query))
    slope = 2 * x.T @ (x @ params["initial"] - y) / len(x)
    outer = 2 * query_x.T @ (query_x @ (params["initial"] - params["rates"] * slope) - query_y) / len(query_x)
    np.testing.assert_allclose(got["initial"], outer, rtol=1e-12)
    np.testing.assert_allclose(got["rates"], -slope * outer, rtol=1e-12)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="num_steps must be a whole number of at least 0; got -1"):
        jmeta.meta_sgd(LINEAR, jmeta.squared_error, num_steps=-1)
