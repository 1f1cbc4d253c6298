"""MAML and FOMAML against central differences, closed forms and each other."""

import itertools

import chex
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
    chex.assert_trees_all_close(got, gradient(adapted, episode.query), rtol=1e-10, atol=1e-12)


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

    (x, y, *_), (query_x, query_y, *_) = (jax.device_get(batch) for batch in (episode.support, episode.query))
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
    steps = [jax.tree.map(lambda along, step=step: along[step], path) for step in range(5)]
    chex.assert_trees_all_equal(steps[0], params)
    # Two programs may round differently.
    chex.assert_trees_all_close(steps[2], adapted, rtol=1e-6)
    support = episode.support
    losses = [float(jnp.square(model.apply(params, support.x) - support.y).mean()) for params in steps]
    assert losses == sorted(losses, reverse=True)


def test_unsafe_inner_optimizer_and_negative_steps_are_refused():
    """The optimiser where the tree that it is to update is known first."""
    model, episode = dense((1,), jnp.tanh), regression()
    for unsafe in (optax.adam(0.1), optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))):
        learner = jmeta.maml(model, jmeta.squared_error, unsafe)
        with pytest.raises(ValueError, match="inner_optimizer has no finite derivative"):
            learner.init(KEY, episode)
        with pytest.raises(ValueError, match="inner_optimizer has no finite derivative"):
            learner.adapt(model.init(KEY, episode.support.x), KEY, episode.support)
        for adjoint in (jmeta.first_order(), jmeta.implicit(proximal_strength=1.0)):
            jmeta.maml(model, jmeta.squared_error, unsafe, adjoint=adjoint).init(KEY, episode)
        jmeta.maml(model, jmeta.squared_error, unsafe, num_steps=0).init(KEY, episode)
    with pytest.raises(ValueError, match="num_steps must be a whole number of at least 0; got -1"):
        jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=-1)


def test_only_the_chosen_parameters_adapt_and_all_get_the_outer_gradient(x64):
    model, episode = dense((3, 1), jnp.tanh), regression()
    by_path = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=2, adapts=lambda path: path.startswith("1/"))
    by_tree = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=2, adapts=[False, True])
    params = by_path.init(KEY, episode)
    first, last = params
    frozen = jmeta.Model(lambda key, x: last, lambda last, x, *, key=None, mask=None: model.apply([first, last], x))
    expected = jmeta.maml(frozen, jmeta.squared_error, optax.sgd(0.1), num_steps=2).adapt(last, KEY, episode.support)
    for learner in (by_path, by_tree):
        (nothing, adapted) = learner.adapt(params, KEY, episode.support)
        assert nothing == (None, None)
        chex.assert_trees_all_close(adapted, expected, rtol=1e-12)
        testing.check_gradient(learner.loss, params, KEY, episode)
    with pytest.raises(ValueError, match="adapts must choose at least one leaf; got none of 0/0, 0/1, 1/0, 1/1"):
        jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), adapts=lambda path: "head" in path).init(KEY, episode)


# optax.masked alone lets the gradients of the other leaves through, so those are set to zero.
LABELS = [("frozen", "frozen"), ("adapts", "adapts")]
PARTS = {
    "partition": optax.partition({"adapts": optax.sgd(0.1, momentum=0.9), "frozen": optax.set_to_zero()}, LABELS),
    "masked": optax.chain(
        optax.masked(optax.sgd(0.1, momentum=0.9), [(False, False), (True, True)]),
        optax.masked(optax.set_to_zero(), [(True, True), (False, False)]),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_inner_optimizers_by_part_are_adapting_that_part_alone(x64, name):
    """A tree of labels fits the adapted tree, and no other that an optimiser might be tried on."""
    model, episode = dense((3, 1), jnp.tanh), regression()
    labelled = jmeta.maml(model, jmeta.squared_error, PARTS[name], num_steps=3)
    alone = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1, momentum=0.9), num_steps=3, adapts=[False, True])
    params = labelled.init(KEY, episode)
    got, expected = (jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode) for learner in (labelled, alone))
    chex.assert_trees_all_close(got, expected, rtol=1e-12)
