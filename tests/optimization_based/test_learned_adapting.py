"""A learned objective and a learned rule: meta-gradients by differences, and steps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.optimization_based.tasks import KEY, classification, network, regression

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
SGD = optax.sgd(0.2)


def objective(task, num_steps=1):
    if task == "numbers":
        return jmeta.learned_objective(network(3, 1), jmeta.squared_error, network(4, 1), SGD, num_steps=num_steps), regression()
    return jmeta.learned_objective(network(4, 3), cross_entropy, network(4, 1), SGD, num_steps=num_steps), classification()


def rule(num_steps=1, network_of_rule=None, inner_rate=0.1):
    parts = network(3, 1), jmeta.squared_error, network_of_rule or network(4, 2)
    return jmeta.learned_update_rule(*parts, inner_rate=inner_rate, num_steps=num_steps)


def of_parts(outputs, targets):
    return jnp.square(outputs - targets["depth"])


def in_parts():
    return regression()._replace(support=regression().support._replace(y={"depth": regression().support.y}))


@pytest.mark.parametrize("task", ["numbers", "labels"])
def test_the_meta_gradient_of_an_objective_agrees_with_central_differences(x64, task):
    learner, episode = objective(task, num_steps=2)
    testing.check_gradient(learner.loss, learner.init(KEY, episode), KEY, episode)


def test_the_meta_gradient_of_a_rule_agrees_with_central_differences(x64):
    learner = rule(num_steps=3)
    testing.check_gradient(learner.loss, learner.init(KEY, regression()), KEY, regression())


@pytest.mark.parametrize("task", ["numbers", "labels"])
def test_a_step_minimises_what_the_network_says_of_outputs_and_targets(x64, task):
    learner, episode = objective(task)
    params, (x, y, *_) = learner.init(KEY, episode), episode.support
    first, second = (np.asarray(kernel) for kernel in params["objective"])

    def cost(weights):
        outputs = jnp.tanh(x @ weights[0]) @ weights[1]
        if task == "labels":
            shares = jnp.exp(outputs)
            given = [shares / shares.sum(axis=1, keepdims=True), jnp.eye(3)[y]]
        else:
            given = [outputs, y]
        return jnp.log(1 + jnp.exp(jnp.tanh(jnp.concatenate(given, axis=1) @ first) @ second)).mean()

    start = params["initial"]
    moved = jax.tree.map(lambda leaf, slope: leaf - 0.2 * slope, start, jax.grad(cost)(start))
    adapted = learner.adapt(params, KEY, episode.support, classes=episode.classes)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12), adapted, moved)


def test_three_steps_of_a_rule_are_those_of_a_loop(x64):
    learner, episode = rule(num_steps=3), regression()
    params, (x, y, *_) = learner.init(KEY, episode), episode.support
    first, second = (np.asarray(kernel) for kernel in params["rule"])

    def cost(weights):
        return jnp.square(jnp.tanh(x @ weights[0]) @ weights[1] - y).mean()

    weights = [np.asarray(leaf) for leaf in params["initial"]]
    momenta = [np.zeros_like(leaf) for leaf in weights]
    for _ in range(3):
        for at, slope in enumerate(map(np.asarray, jax.grad(cost)(weights))):
            momenta[at] = 0.9 * momenta[at] + 0.1 * slope
            size, length = np.sqrt((slope**2).mean() + 1e-8), np.sqrt((weights[at] ** 2).mean() + 1e-8)
            moved = weights[at].copy()
            for place in np.ndindex(*slope.shape):
                seen = np.array([slope[place] / size, momenta[at][place] / size, weights[at][place] / length])
                direction, scale = np.tanh(seen @ first) @ second
                moved[place] -= 0.1 * (np.exp(scale) * slope[place] + size * direction)
            weights[at] = moved
    adapted = learner.adapt(params, KEY, episode.support)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-10), adapted, weights)


def test_a_rule_of_zeros_is_gradient_descent(x64):
    episode, ours, plain = regression(), rule(2), jmeta.maml(network(3, 1), jmeta.squared_error, optax.sgd(0.1), num_steps=2)
    params = ours.init(KEY, episode)
    still = params | {"rule": jax.tree.map(jnp.zeros_like, params["rule"])}
    np.testing.assert_allclose(ours.loss(still, KEY, episode)[0], plain.loss(params["initial"], KEY, episode)[0], rtol=1e-12)


def test_a_rule_has_finite_gradients_where_the_gradient_is_zero():
    """Targets that are met exactly."""
    episode, learner = regression(), rule(2)
    params = learner.init(KEY, episode)
    met = episode.support._replace(y=network(3, 1).apply(params["initial"], episode.support.x))
    gradient = jax.grad(learner.loss, has_aux=True)(params, KEY, episode._replace(support=met))[0]
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: rule(network_of_rule=network(3)).init(KEY, regression()), "rule must give two numbers for each weight"),
        (
            lambda: jmeta.learned_update_rule(network(1), jmeta.squared_error, network(2), inner_rate=0.0),
            "inner_rate must be positive",
        ),
        (lambda: jmeta.learned_objective(network(1), jmeta.squared_error, None, SGD), "objective must be a Model"),
        (lambda: jmeta.learned_objective(network(1), of_parts, network(1), SGD).init(KEY, in_parts()), "targets one array"),
        (
            lambda: jmeta.learned_objective(network(1), jmeta.squared_error, network(2), SGD).init(KEY, regression()),
            "objective must give one number for each row",
        ),
    ],
)
def test_bad_input_gets_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()
