"""Batches of tasks, several samplers at once, and padding."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, Episode


def episode(rows=(3, 2), labels=(0, 1, 1)):
    x = np.arange(sum(rows) * 2, dtype=np.float32).reshape(-1, 2) + 1
    y = np.array([*labels, *([1] * rows[1])], np.int32)
    return jax.tree.map(jnp.asarray, Episode(Batch(x[: rows[0]], y[: rows[0]]), Batch(x[rows[0] :], y[rows[0] :])))


def test_a_batch_is_the_loop_over_its_keys():
    one = jmeta.sinusoid(shots=2, queries=3)
    many = jmeta.batch_tasks(one, 4)
    key = jax.random.key(3)
    together = many.sample(many.data, key)
    assert together.query.x.shape == (4, 3, 1)
    for index, part in enumerate(jax.random.split(key, 4)):
        alone = one.sample(one.data, part)
        for batched, single in ((together.support, alone.support), (together.query, alone.query)):
            # A batch may be rounded otherwise than its rows: x to 5 in float32, and sines of it with amplitudes to 5.
            np.testing.assert_allclose(batched.x[index], single.x, rtol=0, atol=1e-6)
            np.testing.assert_allclose(batched.y[index], single.y, rtol=0, atol=5e-6)
    assert len(np.unique(together.support.x)) == 8


def test_a_batch_of_no_task_is_refused():
    with pytest.raises(ValueError, match="tasks must be a whole number of at least 1; got 0"):
        jmeta.batch_tasks(jmeta.sinusoid(), 0)


def test_combined_samplers_draw_by_name_with_keys_of_their_own():
    short, long = jmeta.sinusoid(shots=1, queries=2), jmeta.sinusoid(shots=1, queries=2, amplitude=(9.0, 9.0))
    both = jmeta.combine({"b": jmeta.batch_tasks(long, 2), "a": short})
    drawn = jax.jit(both.sample)(both.data, jax.random.key(0))
    assert list(drawn) == ["a", "b"]
    first, second = jax.random.split(jax.random.key(0))
    np.testing.assert_array_equal(drawn["a"].support.x, short.sample(short.data, first).support.x)
    np.testing.assert_array_equal(drawn["b"].support.x, jmeta.batch_tasks(long, 2).sample(long.data, second).support.x)
    twins = jmeta.combine({"a": short, "b": short})
    drawn = twins.sample(twins.data, jax.random.key(0))
    assert not np.array_equal(drawn["a"].support.x, drawn["b"].support.x)


def test_nothing_to_combine_is_refused():
    with pytest.raises(ValueError, match="samplers must name at least one"):
        jmeta.combine({})


def test_combined_data_trains_a_mixture():
    one = jmeta.sinusoid(shots=1, queries=2)

    def objective(params, key, data, *, step=0):
        value = jnp.square(params - data.query.y).mean()
        return value, {"loss": value}

    both = jmeta.combine({"one": one, "many": jmeta.batch_tasks(one, 3)})
    mixed = jmeta.mixture({"one": objective, "many": jmeta.over_tasks(objective)})
    value, metrics = mixed(jnp.ones(()), jax.random.key(1), both.sample(both.data, jax.random.key(0)))
    assert float(value) == pytest.approx(float(metrics["one/loss"] + metrics["many/loss"]), rel=1e-6)


def test_padding_appends_masked_rows_and_absent_classes():
    padded = jmeta.pad_episode(episode(), support=5, query=4, ways=3)
    np.testing.assert_array_equal(padded.support.mask, [True, True, True, False, False])
    np.testing.assert_array_equal(padded.query.mask, [True, True, False, False])
    np.testing.assert_array_equal(padded.classes, [True, True, False])
    np.testing.assert_array_equal(padded.support.x[:3], episode().support.x)
    assert padded.support.y.shape == (5,)
    assert padded.query.x.shape == (4, 2)


def test_padding_a_padded_task_keeps_its_masks():
    once = jmeta.pad_episode(episode(), support=5, query=4, ways=3)
    twice = jmeta.pad_episode(once, support=7, query=4, ways=4)
    np.testing.assert_array_equal(twice.support.mask, [True, True, True, False, False, False, False])
    # The zeros of padded labels are no class.
    only_ones = jmeta.pad_episode(
        jmeta.pad_episode(episode(labels=(1, 1, 1)), support=5, query=4, ways=2), support=6, query=4, ways=2
    )
    np.testing.assert_array_equal(twice.classes, [True, True, False, False])
    np.testing.assert_array_equal(only_ones.classes, [False, True])
    assert jmeta.pad_episode(episode(), support=3, query=2).classes is None


def test_tasks_of_different_sizes_stack_once_padded():
    tasks = [episode((3, 2)), episode((5, 4), labels=(0, 1, 1, 2, 2))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(jmeta.pad_episode(t, support=5, query=4, ways=3) for t in tasks))
    np.testing.assert_array_equal(stacked.classes, [[True, True, False], [True, True, True]])
    assert stacked.support.x.shape == (2, 5, 2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"support": 2, "query": 2}, "support must be at least the rows of the task; got support=2 and 3 rows"),
        ({"support": 3, "query": 1}, "query must be at least the rows of the task; got query=1 and 2 rows"),
        ({"support": 3, "query": 2, "ways": 1}, r"support.y must hold labels 0, ..., ways - 1; got ways=1 and label 1"),
    ],
)
def test_padding_to_less_than_the_task_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        jmeta.pad_episode(episode(), **sizes)


def test_padding_works_under_jit():
    padded = jax.jit(lambda task: jmeta.pad_episode(task, support=4, query=2, ways=2))(episode())
    np.testing.assert_array_equal(padded.classes, [True, True])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint32, np.int64, np.int32])
def test_labels_of_any_integer_type_are_labels(kind):
    """One that is too large for the type of an index is a label that is too large, whatever it wraps to."""
    task = episode(labels=(0, 1, 1))
    task = jax.tree.map(np.asarray, task)
    task = task._replace(
        support=task.support._replace(y=task.support.y.astype(kind)), query=task.query._replace(y=task.query.y.astype(kind))
    )
    padded = jmeta.pad_episode(task, support=4, query=2, ways=3)
    np.testing.assert_array_equal(padded.classes, [True, True, False])
    assert padded.query.mask.all()
    # More classes than eight bits can count.
    assert np.flatnonzero(jmeta.pad_episode(task, support=4, query=2, ways=300).classes).tolist() == [0, 1]
    largest = np.iinfo(kind).max
    wrong = task._replace(support=task.support._replace(y=np.array([0, 1, largest], kind)))
    with pytest.raises(ValueError, match=rf"support.y must hold labels 0, ..., ways - 1; got ways=3 and label {largest}"):
        jmeta.pad_episode(wrong, support=4, query=2, ways=3)


def part(labels, features=2, seed=0):
    x = np.random.default_rng(seed).normal(size=(len(labels), features)).astype(np.float32)
    return Batch(jnp.asarray(x), jnp.asarray(labels))


LEARNERS = {
    "maml": lambda: jmeta.maml(linear(3), optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.1)),
    "prototypical_networks": lambda: jmeta.prototypical_networks(linear(4)),
}


def linear(outputs):
    def init(key, x):
        return jax.random.normal(key, (x.shape[-1], outputs))

    return jmeta.from_functions(init, lambda params, x: x @ params)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_query_of_a_class_without_support_is_refused_and_under_jit_masked(name):
    """There the task has the loss and the gradient that it has without this row."""
    learner = LEARNERS[name]()
    task = Episode(part([0, 1, 0, 1]), part([0, 2, 1, 7], seed=1))
    with pytest.raises(ValueError, match=r"query.y must hold labels 0, ..., ways - 1; got ways=3 and label 7"):
        jmeta.pad_episode(task, support=4, query=4, ways=3)
    known = task._replace(query=task.query._replace(y=jnp.array([0, 2, 1, 0])))
    with pytest.raises(
        ValueError, match=r"query.y must hold labels that occur in the support; got label 2, of which it has no example"
    ):
        jmeta.pad_episode(known, support=4, query=4, ways=3)

    @jax.jit
    def differentiated(params, task):
        padded = jmeta.pad_episode(task, support=5, query=5, ways=3)
        return jax.value_and_grad(lambda params: learner.loss(params, jax.random.key(0), padded)[0])(params)

    masks = jax.jit(lambda task: jmeta.pad_episode(task, support=5, query=5, ways=3).query.mask)(task)
    np.testing.assert_array_equal(masks, [True, False, True, False, False])
    without = task._replace(query=jax.tree.map(lambda leaf: leaf[jnp.array([0, 2])], task.query))
    params = learner.init(jax.random.key(1), jmeta.pad_episode(without, support=4, query=2, ways=3))
    # float32, sums in another order
    chex.assert_trees_all_close(differentiated(params, task), differentiated(params, without), rtol=1e-5, atol=1e-6)


def test_of_classes_that_are_marked_real_and_have_no_support_the_loss_is_finite_under_jit():
    """Outside it is a sentence; inside the prototype stands at the origin."""
    learner = LEARNERS["prototypical_networks"]()
    task = Episode(part([0, 1, 0, 1]), part([0, 2, 1, 1], seed=1), jnp.ones(3, bool))
    with pytest.raises(ValueError, match="support must hold an example of every class; got none of 2"):
        learner.init(jax.random.key(0), task)
    params = learner.init(jax.random.key(0), task._replace(support=part([0, 1, 2, 1])))
    adapted = learner.adapt(params, jax.random.key(0), task.support, classes=task.classes)
    assert not adapted[2].any()
    value, gradient = jax.jit(jax.value_and_grad(lambda params: learner.loss(params, jax.random.key(0), task)[0]))(params)
    chex.assert_tree_all_finite((value, gradient))


def test_what_stands_in_the_padding_is_a_real_row():
    """For a loss or a model that is undefined at zero; also where the first row is masked."""
    padded = jmeta.pad_episode(episode(), support=5, query=4)
    np.testing.assert_array_equal(padded.support.x[3:], [episode().support.x[0]] * 2)
    masked = episode()._replace(support=episode().support._replace(mask=jnp.array([False, True, True])))
    padded = jmeta.pad_episode(masked, support=5, query=4)
    np.testing.assert_array_equal(padded.support.x[3:], [episode().support.x[1]] * 2)
    np.testing.assert_array_equal(padded.support.mask, [False, True, True, False, False])


REGRESSION = Episode(*[Batch(jnp.ones((3, 2)), jnp.ones((3, 1)))] * 2)
MANY = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[jmeta.pad_episode(episode(), support=3, query=2, ways=2)] * 2)


@pytest.mark.parametrize(
    ("task", "sizes", "message"),
    [
        (REGRESSION, {"ways": 2}, r"ways=2 needs support.y to hold one integer label per row; got float32\[3, 1\]"),
        (REGRESSION._replace(query=part([0, 0, 0])), {"ways": 2}, r"ways=2 needs support.y to hold one integer label per row"),
        (MANY, {"ways": 2}, "episode must be one task; got a batch of 2 tasks"),
        (MANY, {}, "episode must be one task; got a batch of 2 tasks"),
        (episode(), {"ways": 2.5}, "ways must be a whole number of at least 1; got 2.5"),
        (episode(), {"ways": 0}, "ways must be a whole number of at least 1; got 0"),
        (episode(), {"ways": True}, "ways must be a whole number of at least 1; got True"),
        (episode(), {"support": 3.0}, "support must be a whole number of at least 1; got 3.0"),
        (episode(labels=(0, -1, 1)), {"ways": 2}, "support.y must hold labels 0, ..., ways - 1; got ways=2 and label -1"),
        (
            episode()._replace(query=part([0, -2])),
            {"ways": 2},
            "query.y must hold labels 0, ..., ways - 1; got ways=2 and label -2",
        ),
        (
            episode()._replace(support=episode().support._replace(mask=jnp.ones(3, int))),
            {"ways": 2},
            "support.mask must hold booleans, in an array; got int32: what rows count is for weights",
        ),
        (
            episode()._replace(query=episode().query._replace(mask=jnp.ones(2))),
            {"ways": 2},
            "query.mask must hold booleans, in an array; got float32: what rows count is for weights",
        ),
        (
            episode()._replace(support=episode().support._replace(mask=[True] * 3)),
            {},
            "support.mask must hold booleans, in an array; got list",
        ),
        (
            episode()._replace(support=episode().support._replace(weights=[1.0] * 3)),
            {},
            "support.weights must hold arrays; got float",
        ),
        (episode()._replace(classes=[True, True]), {}, "classes must hold booleans, in an array; got list"),
        (episode()._replace(classes=jnp.ones(2)), {}, "classes must hold booleans, in an array; got float32"),
        (episode()[:2], {}, r"episode must be an Episode\(support, query\); got tuple"),
    ],
)
def test_tasks_that_cannot_be_padded_are_refused(task, sizes, message):
    with pytest.raises(ValueError, match=message):
        jmeta.pad_episode(task, **{"support": 4, "query": 4} | sizes)
