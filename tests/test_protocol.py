"""What every learner promises: a new algorithm adds one row."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jmeta
from jmeta import testing
from jmeta.nn import MultilayerPerceptron


def network(*features):
    """A tanh network in the precision of the test."""
    model = jmeta.from_linen(MultilayerPerceptron(features, activation=jnp.tanh))
    return model._replace(init=lambda key, x: jax.tree.map(lambda leaf: leaf.astype(float), model.init(key, x)))


def regression():
    return jmeta.sinusoid(shots=4, queries=3)


def classification():
    x = jax.random.normal(jax.random.key(0), (20, 2))
    return jmeta.from_arrays(x, jnp.repeat(jnp.arange(4), 5), ways=3, shots=2, queries=2)


cross_entropy = optax.softmax_cross_entropy_with_integer_labels
heads = jmeta.EncoderHead(network(6, 5), network(3))

LEARNERS = {
    "maml": (jmeta.maml(network(6, 1), jmeta.squared_error, optax.sgd(0.05), num_steps=2), regression, {"num_steps": 2}),
    "fomaml": (
        jmeta.maml(network(6, 1), jmeta.squared_error, optax.adam(0.05), num_steps=2, adjoint=jmeta.first_order()),
        regression,
        {"num_steps": 2},
    ),
    "reptile": (jmeta.reptile(network(6, 1), jmeta.squared_error, optax.sgd(0.05)), regression, {"num_steps": 5}),
    "reptile in mini-batches": (
        jmeta.reptile(network(6, 1), jmeta.squared_error, optax.sgd(0.05), batch_size=2),
        regression,
        {"num_steps": 5, "uses_key": True},
    ),
    "anil": (jmeta.anil(heads, cross_entropy, optax.sgd(0.5), num_steps=2), classification, {"num_steps": 2}),
    "prototypical_networks": (jmeta.prototypical_networks(network(6, 5), ways=3), classification, {}),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learner_keeps_the_protocol(name):
    learner, sampler, options = LEARNERS[name]
    testing.check_learner(learner, sampler(), **options)


@pytest.mark.parametrize("name", ["maml", "prototypical_networks"])
def test_learner_keeps_the_protocol_up_to_rounding_in_float64(x64, name):
    learner, sampler, options = LEARNERS[name]
    testing.check_learner(learner, sampler(), **options, tolerance=1e-12)


def adapt(params, key, support, *, classes=None):
    del key, classes
    mask = jnp.ones(len(support.y)) if support.mask is None else support.mask
    return params * (support.y[:, 0] * mask).sum() / mask.sum()


def predict(params, adapted, x, *, key=None, mask=None):
    del key, mask
    return params * x + adapted


def learner_of(adapt, predict, path=None):
    """A learner that shifts a line by the mean of the support."""
    return jmeta.Learner(
        lambda key, episode: jnp.ones(()), adapt, predict, jmeta.query_loss(adapt, predict, jmeta.squared_error), path
    )


GOOD = learner_of(adapt, predict)


TRACES = []


def with_memory(params, key, episode, *, step=0):
    """Changes with every trace."""
    TRACES.append(step)
    return GOOD.loss(params * len(TRACES), key, episode, step=step)


def by_key(params, key, episode, *, step=0):
    value, metrics = GOOD.loss(params, key, episode, step=step)
    return value * (1 + jax.random.uniform(key)), metrics


def first_row(params, key, support, *, classes=None):
    return params * support.y[0, 0]


def plain_mean(params, key, support, *, classes=None):
    return params * support.y.mean()


BROKEN = {
    "a loss that is no scalar": (
        GOOD._replace(loss=lambda params, key, episode, *, step=0: (params * episode.query.x, {})),
        {},
        r"loss must give a floating-point scalar; got float32\[3, 1\]",
    ),
    "metrics that are no scalars": (
        GOOD._replace(loss=lambda params, key, episode, *, step=0: (params, {"rows": episode.query.x})),
        {},
        r"loss must give scalar metrics; got shapes \{'rows': \(3, 1\)\}",
    ),
    "a loss that is not finite": (
        GOOD._replace(loss=lambda params, key, episode, *, step=0: (params / 0, {})),
        {},
        "loss must be finite and have a finite gradient; got a loss of inf",
    ),
    "a loss without gradient": (
        GOOD._replace(loss=lambda params, key, episode, *, step=0: (0 * params, {})),
        {},
        "loss must depend on the parameters; got a gradient of zeros",
    ),
    "a loss with a memory": (GOOD._replace(loss=with_memory), {}, "must be the same for mapped tasks and for a loop"),
    "one output for all rows": (
        GOOD._replace(predict=lambda params, adapted, x, *, key=None, mask=None: adapted[None]),
        {},
        r"predict must give one row per example, \[3, ...\]; got \[1\]",
    ),
    "predictions that are not finite": (
        GOOD._replace(predict=lambda params, adapted, x, *, key=None, mask=None: x / 0),
        {},
        "adapt and predict must give finite values",
    ),
    "queries that see the first query": (
        GOOD._replace(predict=lambda params, adapted, x, *, key=None, mask=None: x + x[:1]),
        {},
        "predict must treat the query rows alike",
    ),
    "a support whose first row counts": (learner_of(first_row, predict), {}, "adapt must not depend on the order of the support"),
    "a key that is used": (GOOD._replace(loss=by_key), {}, "got uses_key=False and a loss that changes with it"),
    "a key that is not used": (GOOD, {"uses_key": True}, "got uses_key=True and a loss that ignores it"),
    "padded rows that count": (learner_of(plain_mean, predict), {}, "loss must not depend on padded rows"),
    "no path": (GOOD, {"num_steps": 1}, "path must be given where num_steps is; got None and num_steps=1"),
    "a path of the wrong length": (
        GOOD._replace(path=lambda params, key, support, num_steps, *, classes=None: jnp.zeros(num_steps)),
        {"num_steps": 1},
        r"path must have a leading axis of num_steps \+ 1 = 3; got shapes \[\(2,\)\]",
    ),
    "a path that goes elsewhere": (
        GOOD._replace(path=lambda params, key, support, num_steps, *, classes=None: jnp.full(num_steps + 1, 9.0)),
        {"num_steps": 1},
        "path must pass through adapt after 1 steps",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_promises_are_found(name):
    learner, options, sentence = BROKEN[name]
    with pytest.raises(ValueError, match=sentence):
        testing.check_learner(learner, regression(), **options)


def test_the_learner_that_was_broken_keeps_the_protocol():
    testing.check_learner(GOOD, regression())
    testing.check_learner(learner_of(plain_mean, predict), regression(), takes_masks=False)
    testing.check_learner(learner_of(first_row, predict), regression(), uses_support_order=True)
    testing.check_learner(GOOD._replace(loss=by_key), regression(), uses_key=True)


def half_gradient(params, key, data, *, step=0):
    """A gradient that is blocked through one of two terms."""
    return jnp.sin(params).sum() + jnp.cos(jax.lax.stop_gradient(params)).sum(), {}


def test_wrong_gradients_and_float32_are_found(x64):
    testing.check_gradient(lambda params, key, data, *, step=0: (jnp.sin(params).sum(), {}), jnp.ones(3), None, None)
    with pytest.raises(ValueError, match="objective must have the gradient of its differences along a direction"):
        testing.check_gradient(half_gradient, jnp.ones(3), None, None)
    with pytest.raises(ValueError, match="params must be float64 to be compared with differences; got float32"):
        testing.check_gradient(half_gradient, jnp.ones(3, jnp.float32), None, None)
