"""What reaches a prediction: never the target of a query, never another query; and what these learners refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta.nn import MemoryCell
from tests.model_based.networks import KEY, WAYS, classification, dense, made, regression

MODEL, PAIR = jmeta.EncoderHead(dense(3), dense(WAYS)), jmeta.EncoderHead(dense(3), dense(4))
CELL = MemoryCell(units=6, slots=5, width=4, reads=2)
LOSS = optax.softmax_cross_entropy_with_integer_labels
QUERY = {"query": dense(3), "width": 4, "heads": 2}


def first_output(outputs, targets):
    """A loss that does not look at targets, so that whatever depends on them has seen them elsewhere."""
    del targets
    return outputs[:, 0]


def of_labels(loss_fn, model=MODEL):
    return {
        "memory_augmented_networks": jmeta.memory_augmented_networks(model, loss_fn, cell=CELL),
        "in_context_learner": jmeta.in_context_learner(model, loss_fn, width=6, heads=2),
        "snail": jmeta.snail(model, loss_fn, length=8, attentions=((4, 2), (3, 5)), filters=3),
    }


OF_NUMBERS = {
    "conditional_neural_processes": jmeta.conditional_neural_processes(dense(3), dense(4, 2)),
    "neural_processes": jmeta.neural_processes(PAIR, dense(4, 2)),
    "attentive_neural_processes": jmeta.attentive_neural_processes(dense(3), dense(4, 2), latent=PAIR, **QUERY),
}
LEARNERS = {**{name: (learner, classification) for name, learner in of_labels(LOSS).items()}}
LEARNERS |= {name: (learner, regression) for name, learner in OF_NUMBERS.items()}


def with_other_targets(batch, rows=slice(None)):
    y = np.array(batch.y)
    y[rows] = (y[rows] + 1) % WAYS if y.dtype == int else y[rows] + 1
    return batch._replace(y=y)


@pytest.mark.parametrize("name", of_labels(LOSS))
def test_no_label_of_a_query_reaches_a_prediction_in_training(x64, name):
    """A loss that looks at outputs alone is the same, to the bit, with its gradient; other labels of the support change it."""
    learner, episode = of_labels(first_output)[name], classification()
    params = made(learner, episode)
    run = jax.jit(jax.value_and_grad(lambda *given: learner.loss(*given)[0]))
    found = run(params, KEY, episode)
    changed = run(params, KEY, episode._replace(query=with_other_targets(episode.query)))
    jax.tree.map(np.testing.assert_array_equal, found, changed)
    assert run(params, KEY, episode._replace(support=with_other_targets(episode.support)))[0] != found[0]


def test_no_label_of_a_support_row_reaches_what_a_memory_says_of_it(x64):
    """Before a label is told: the rows up to the changed one are judged as they were, the next one otherwise."""
    episode = classification()
    learner = jmeta.memory_augmented_networks(MODEL, lambda outputs, targets: outputs, cell=CELL, shuffles=False)
    params = made(learner, episode)
    changed = episode._replace(support=with_other_targets(episode.support, [3]))

    @jax.jit
    def before(episode, upto):
        counted = episode.support._replace(weights=jnp.where(jnp.arange(7) < upto, 1.0, 0.0))
        return learner.loss(params, KEY, episode._replace(support=counted))[1]["support_loss"]

    assert [bool(before(episode, upto) == before(changed, upto)) for upto in range(1, 8)] == [True] * 4 + [False] * 3


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_no_target_of_a_query_reaches_what_is_said_of_it(x64, name):
    """Outside training: a sum of squares of the targets, each for itself, as where mean and deviation do not move with them."""
    learner, episode = OF_NUMBERS[name], regression()
    params = made(learner, episode)

    @jax.jit
    @jax.hessian
    def curvature(y):
        changed = episode._replace(query=episode.query._replace(y=y[:, None]))
        return learner.loss(params, KEY, changed, training=False)[0]

    found = [curvature(episode.query.y[:, 0] + shift) for shift in (0.0, 1.0)]
    deviation = learner.predict(params, learner.adapt(params, KEY, episode.support), episode.query.x).deviation
    for one in found:
        np.testing.assert_allclose(one, np.diag(deviation[:, 0] ** -2 / 4), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", LEARNERS)
def test_no_query_sees_another(x64, name):
    """Derivatives by the input of another query are zeros, those by its own and by the support are not."""
    learner, task = LEARNERS[name]
    episode = task()
    params = made(learner, episode)

    def outputs(query_x, support_x):
        support = episode.support._replace(x=support_x)
        adapted = learner.adapt(params, KEY, support, classes=episode.classes)
        found = jax.tree.leaves(learner.predict(params, adapted, query_x, key=jax.random.key(1)))
        return jnp.concatenate(found, axis=1).sum(axis=1)

    by_query, by_support = jax.jit(jax.jacobian(outputs, argnums=(0, 1)))(episode.query.x, episode.support.x)
    reached = (by_query != 0).any(axis=2)
    np.testing.assert_array_equal(reached, np.eye(4, dtype=bool))
    assert (by_support != 0).any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", ["memory_augmented_networks", "snail"])
def test_an_order_without_a_key_is_refused(name):
    learner, task = LEARNERS[name]
    params = made(learner, task())
    with pytest.raises(ValueError, match=r"key must be there, for the order of the support is drawn from it.*; got None"):
        jax.eval_shape(lambda params: learner.adapt(params, None, task().support, classes=task().classes), params)


@pytest.mark.parametrize("name", of_labels(LOSS))
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"query": jmeta.Batch(np.zeros((4, 2)), np.array([0, 1, 2, 3]))}, "query.y must hold labels 0, ..., 2, .*; got label 3"),
        ({"support": jmeta.Batch(np.zeros((2, 2)), np.array([0, -1]))}, "support.y must hold labels 0, ..., 2, .*; got label -1"),
        ({"classes": None}, r"classes must mark the classes of the task, \[ways\].*; got None"),
    ],
)
def test_labels_outside_the_ways_are_refused(name, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        LEARNERS[name][0].init(KEY, classification()._replace(**change))


@pytest.mark.parametrize("name", of_labels(LOSS))
def test_other_ways_than_those_of_init_are_refused(name):
    learner, episode = LEARNERS[name][0], classification()
    params = made(learner, episode)
    with pytest.raises(ValueError, match=r"targets must be 3 numbers each \(of labels, one for each class\).*; got 4"):
        jax.eval_shape(lambda params: learner.adapt(params, KEY, episode.support, classes=np.ones(4, bool)), params)


@pytest.mark.parametrize("name", of_labels(LOSS))
def test_an_encoder_that_gives_no_vectors_is_refused(name):
    maps = jmeta.from_functions(lambda key, x: jnp.ones(()), lambda params, x: params * x[:, :, None])
    learner = of_labels(LOSS, jmeta.EncoderHead(maps, dense(WAYS)))[name]
    with pytest.raises(ValueError, match=r"the encoder must give one vector for each row, \[n, d\]; got float32\[7, 2, 1\]"):
        learner.init(KEY, classification())


@pytest.mark.parametrize("name", of_labels(LOSS))
def test_a_model_of_one_part_is_refused(name):
    with pytest.raises(ValueError, match="model must be an EncoderHead"):
        of_labels(LOSS, dense(WAYS))[name]
