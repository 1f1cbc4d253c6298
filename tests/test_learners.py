"""What most learners share: starts and rules, and inner optimisers that ask for more than the gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing

KEY = jax.random.key(0)
LINEAR = jmeta.Model(lambda key, x: jnp.ones((x.shape[-1], 1)), lambda params, x, *, key=None, mask=None: jnp.tanh(x) @ params)


def regression():
    shapes = (5, 2), (5, 1), (4, 2), (4, 1)
    x, y, query_x, query_y = map(jax.random.normal, jax.random.split(KEY, 4), shapes)
    return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(query_x, query_y))


def loss(params, batch):
    return jnp.square(LINEAR.apply(params, batch.x) - batch.y).mean()


# The plateau is reached at once: no step halves the loss.
ASKING = {
    "reduce_on_plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.5)),
    "polyak_sgd": optax.polyak_sgd(max_learning_rate=10.0, f_min=0.1),
    "lbfgs": optax.lbfgs(memory_size=3),
}


@pytest.mark.parametrize("name", ASKING)
def test_an_inner_optimizer_is_given_the_loss_that_it_asks_for(x64, name):
    optimizer, episode = ASKING[name], regression()
    learner = jmeta.maml(LINEAR, jmeta.squared_error, optimizer, num_steps=4, adjoint=jmeta.first_order())
    params = learner.init(KEY, episode)
    adapted = jax.jit(learner.adapt)(params, KEY, episode.support)
    gradient = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]

    @jax.jit
    def step(params, state):
        def value_fn(params):
            return loss(params, episode.support)

        value, grads = jax.value_and_grad(value_fn)(params)
        updates, state = optimizer.update(grads, state, params, value=value, grad=grads, value_fn=value_fn)
        return optax.apply_updates(params, updates), state

    expected, state = params, optimizer.init(params)
    for _ in range(4):
        expected, state = step(expected, state)
    np.testing.assert_allclose(adapted, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient, jax.grad(loss)(adapted, episode.query), rtol=1e-10)
    # The loss that was given changed something.
    plain = jmeta.maml(LINEAR, jmeta.squared_error, optax.sgd(0.1), num_steps=4).adapt(params, KEY, episode.support)
    assert np.abs(adapted - plain).max() > 1e-3


def scale_by_loss(rate):
    def update(updates, state, params=None, *, value, **extra):
        return jax.tree.map(lambda leaf: -rate * value * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_the_loss_that_an_inner_optimizer_asks_for_is_differentiated_too(x64):
    learner = jmeta.maml(LINEAR, jmeta.squared_error, scale_by_loss(0.1), num_steps=2)
    testing.check_gradient(learner.loss, learner.init(KEY, regression()), KEY, regression())


def test_a_learnt_rate_of_an_inner_optimizer_that_asks_for_the_loss_learns_under_first_order(x64):
    learner = jmeta.gradient_based(
        lambda key, episode: {"start": jnp.array([[0.4], [-0.3]]), "rate": jnp.array(0.1)},
        lambda params, key, support, classes: params["start"],
        lambda params, adapted, x, *, key=None, mask=None: LINEAR.apply(adapted, x),
        jmeta.squared_error,
        scale_by_loss,
        num_steps=1,
        adjoint=jmeta.first_order(),
        rule=lambda params, key, support, classes: params["rate"],
    )
    episode = regression()
    params = learner.init(KEY, episode)
    got = jax.grad(learner.loss, has_aux=True)(params, KEY, episode)[0]
    value, slope = jax.value_and_grad(loss)(params["start"], episode.support)
    outer = jax.grad(loss)(params["start"] - 0.1 * value * slope, episode.query)
    chex.assert_trees_all_close(got, {"start": outer, "rate": -value * (slope * outer).sum()}, rtol=1e-12)


def test_line_searches_work_where_their_loss_depends_on_what_does_not_adapt(x64):
    """L-BFGS on a head whose features are learnt: there is no reverse mode through its loop, and none is needed."""
    encoder = jmeta.Model(lambda key, x: jnp.eye(2) + 0.5, lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params))
    model, episode = jmeta.EncoderHead(encoder, LINEAR), regression()
    learner = jmeta.anil(model, jmeta.squared_error, optax.lbfgs(memory_size=3), num_steps=3, adjoint=jmeta.first_order())
    params = learner.init(KEY, episode)
    got = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]
    head = learner.adapt(params, KEY, episode.support)

    def query(encoder, head):
        return loss(head, episode.query._replace(x=jnp.tanh(episode.query.x @ encoder)))

    expected = jmeta.EncoderHead(*jax.grad(query, argnums=(0, 1))(params.encoder, head))
    chex.assert_trees_all_close(got, expected, rtol=1e-10)


def test_an_inner_optimizer_that_cannot_be_differentiated_is_refused():
    learner = jmeta.maml(LINEAR, jmeta.squared_error, optax.lbfgs(), adjoint=jmeta.unrolled())
    with pytest.raises(ValueError, match=r"inner_optimizer must be differentiable for this adjoint.*use the first_order\(\) or"):
        learner.init(KEY, regression())


def test_an_inner_optimizer_that_asks_for_what_is_not_there_is_refused():
    def update(updates, state, params=None, *, temperature, **extra):
        return jax.tree.map(lambda leaf: temperature * leaf, updates), state

    asking = optax.GradientTransformationExtraArgs(lambda params: (), update)
    learner = jmeta.maml(LINEAR, jmeta.squared_error, asking)
    with pytest.raises(
        ValueError, match=r"inner_optimizer must do with value, grad and value_fn; got one that asks more.*temperature"
    ):
        learner.init(KEY, regression())


def build(inner_optimizer, **options):
    return jmeta.gradient_based(
        lambda key, episode: LINEAR.init(key, episode.support.x),
        lambda params, key, support, classes: params,
        lambda params, adapted, x, *, key=None, mask=None: LINEAR.apply(adapted, x),
        jmeta.squared_error,
        inner_optimizer,
        num_steps=1,
        **options,
    )


def rule(params, key, support, classes):
    return jnp.full((), 0.1)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: build(optax.sgd(0.1), rule=rule),
            "inner_optimizer must be a function from the rule to an optax transformation; got a transformation",
        ),
        (lambda: build(0.1, rule=rule), "inner_optimizer must be a function from the rule to an optax transformation; got float"),
        (
            lambda: build(optax.sgd),
            "inner_optimizer must be an optax transformation, or come with a rule that it is made of; got function",
        ),
        (
            lambda: jmeta.maml(LINEAR, jmeta.squared_error, 0.1),
            "inner_optimizer must be an optax transformation, or come with a rule that it is made of; got float",
        ),
        (
            lambda: build(lambda rate: rate, rule=rule).init(KEY, regression()),
            "inner_optimizer must make an optax transformation of its rule; got ",
        ),
        (
            lambda: build(optax.adam, rule=rule).init(KEY, regression()),
            "inner_optimizer has no finite derivative at a zero gradient",
        ),
    ],
)
def test_rules_and_inner_optimizers_that_do_not_fit_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_start_rule_and_support_loss_may_be_learnt_and_look_at_the_support(x64):
    """A start shifted by the mean target, a rate that falls with the spread of the targets, a loss with a learnt exponent."""

    def start(params, key, support, classes):
        return params["start"] + params["shift"] * support.y.mean()

    def spread_rule(params, key, support, classes):
        return 0.2 * jax.nn.sigmoid(params["rate"] - support.y.std())

    def support_loss_fn(params):
        return lambda outputs, targets: (jnp.square(outputs - targets) + 1) ** params["exponent"]

    learner = jmeta.gradient_based(
        lambda key, episode: {name: jnp.full((2, 1) if name == "start" else (), 0.7) for name in NAMES},
        start,
        lambda params, adapted, x, *, key=None, mask=None: LINEAR.apply(adapted, x),
        jmeta.squared_error,
        lambda rate: optax.sgd(rate, momentum=0.5),
        num_steps=3,
        rule=spread_rule,
        support_loss_fn=support_loss_fn,
    )
    episode = regression()
    params = learner.init(KEY, episode)
    testing.check_gradient(learner.loss, params, KEY, episode)
    gradient = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]
    assert all(np.abs(leaf).max() > 1e-4 for leaf in gradient.values())

    adapted, velocity = start(params, None, episode.support, None), 0
    slope = jax.grad(lambda adapted: support_loss_fn(params)(LINEAR.apply(adapted, episode.support.x), episode.support.y).mean())
    for _ in range(3):
        velocity = slope(adapted) + 0.5 * velocity
        adapted = adapted - spread_rule(params, None, episode.support, None) * velocity
    chex.assert_trees_all_close(learner.adapt(params, KEY, episode.support), adapted, rtol=1e-12)


NAMES = ("exponent", "rate", "shift", "start")
