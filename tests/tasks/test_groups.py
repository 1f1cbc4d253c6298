"""Mini-batches of one set of examples, and episodes of finite lists of tasks; every example carries its task, class and number."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, Episode

KEY = jax.random.key(0)
SIZES = (5, 9, 4, 7)  # examples of the tasks


def marked(task, size):
    """A task whose inputs are (task, number) and whose targets are their sum."""
    x = np.stack([np.full(size, task), np.arange(size)], axis=1).astype(np.float32)
    return Batch(x, x.sum(axis=1, keepdims=True))


def ragged():
    return [marked(task, size) for task, size in enumerate(SIZES)]


def table(names):
    """All tasks in one, shuffled, and the column that says which task a row is of."""
    tasks = ragged()
    column = np.repeat(np.asarray(names), SIZES)
    order = np.random.default_rng(0).permutation(len(column))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *tasks), column[order]


def draw(sampler, count, seed=0):
    """``count`` episodes as NumPy arrays with a leading axis."""
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.device_get(jax.jit(jax.vmap(lambda key: sampler.sample(sampler.data, key)))(keys))


def real(batch):
    """The rows of a batch that are real, as (task, number)."""
    mask = np.ones(len(batch.x), bool) if batch.mask is None else batch.mask
    return [tuple(map(int, row)) for row in batch.x[mask]]


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# --- mini-batches -----------------------------------------------------------------------------------------------------------------


def test_a_mini_batch_holds_different_rows_with_their_targets_and_weights():
    x, weights = np.arange(12, dtype=np.float32)[:, None], np.arange(12, dtype=np.float32)
    y = {"age": 2 * x, "species": np.arange(12)}
    sampler = jmeta.minibatches({"pixels": x, "length": np.arange(12)}, y, 5, weights={"age": weights, "species": weights})
    batches = draw(sampler, 300)
    rows = batches.x["length"]
    assert rows.shape == (300, 5)
    assert all(len(set(batch)) == 5 for batch in rows)
    np.testing.assert_array_equal(batches.x["pixels"][..., 0], rows)
    np.testing.assert_array_equal(batches.y["age"][..., 0], 2 * rows)
    np.testing.assert_array_equal(batches.y["species"], rows)
    np.testing.assert_array_equal(batches.weights["age"], rows)
    assert batches.mask is None
    # Each row is in 5 of 12 batches; the standard error is 0.0285.
    assert np.abs(np.bincount(rows.ravel(), minlength=12) / 300 - 5 / 12).max() < 4 * 0.0285
    whole = jmeta.minibatches(x, None, 12)
    batch = whole.sample(whole.data, KEY)
    assert sorted(np.ravel(batch.x)) == list(range(12))
    assert batch.y is None
    assert whole.size is None


def test_bytes_stay_bytes_on_the_device_and_are_floats_in_the_batch():
    sampler = jmeta.minibatches(np.array([[0], [255]], np.uint8), np.array([0, 255], np.uint8), 2)
    assert sampler.data.x.dtype == np.uint8
    batch = sampler.sample(sampler.data, KEY)
    assert sorted(np.ravel(batch.x)) == [0.0, 1.0]
    assert batch.y.dtype == np.uint8


def test_mini_batches_with_missing_labels_train_the_tasks_that_have_them():
    """The slopes of two lines, of which every second label is missing: least squares of what is there."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 1)).astype(np.float32)
    y = {
        name: slope * x + np.float32(0.1) * random.normal(size=(40, 1)).astype(np.float32) for name, slope in (("a", 2), ("b", -1))
    }
    there = {"a": np.arange(40) % 2 == 0, "b": np.arange(40) % 2 == 1}
    missing = {name: np.where(there[name][:, None], y[name], np.nan) for name in y}
    weights = {name: there[name].astype(np.float32) for name in y}
    line = jmeta.from_functions(lambda key, x: jnp.zeros(()), lambda slope, x: slope * x)
    none = jmeta.from_functions(lambda key, x: (), lambda params, x: x)
    model = jmeta.hard_parameter_sharing(none, {name: jmeta.Task(line, jmeta.squared_error) for name in y})
    optimizer, weighting = optax.sgd(0.2), jmeta.equal_weighting()
    params = model.init(KEY, Batch(x, y))
    state = jmeta.init_state(params, optimizer, KEY, tasks=model.names, weighting=weighting)
    step = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    found = jmeta.fit(step, state, jmeta.minibatches(x, missing, 40, weights=weights), num_steps=60, steps_per_chunk=60).state
    for name in y:
        known = there[name]
        slope = (x[known] * y[name][known]).sum() / np.square(x[known]).sum()
        # 60 steps of gradient descent on one number, in float32.
        np.testing.assert_allclose(found.params.head[name].head, slope, rtol=1e-5)


X, Y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: jmeta.minibatches(X, Y, 5), "size must be at most the number of examples; got size=5 and 4 examples"),
        (lambda: jmeta.minibatches(X, Y, 0), "size must be a whole number of at least 1; got 0"),
        (lambda: jmeta.minibatches(X, Y, 2.5), "size must be a whole number of at least 1; got 2.5"),
        (lambda: jmeta.minibatches(X, Y[:3], 2), r"data.x and data.y must have one row per example; got \(4, 2\) and \(3, 1\)"),
        (lambda: jmeta.minibatches(X * np.nan, Y, 2), "x must be finite; got 8 values that are NaN or infinite"),
        (lambda: jmeta.minibatches(X, Y * np.inf, 2), "y must be finite; got 4 values that are NaN or infinite"),
        (
            lambda: jmeta.minibatches(X, Y * np.nan, 2, weights=np.array([0.0, 0, 1, 0])),
            "y must be finite; got 1 values that are NaN or infinite",
        ),
        (
            lambda: jmeta.minibatches(X, Y, 2, weights=np.ones(3)),
            r"data.weights must have one row per example; got \(3,\) for 4 rows",
        ),
        (lambda: jmeta.minibatches(X, Y, 2, weights=-np.ones(4)), "weights must be finite and at least 0; got -1.0"),
        (lambda: jmeta.minibatches(X, Y, 2, weights=np.full(4, np.nan)), "weights must be finite and at least 0; got nan"),
        (lambda: jmeta.minibatches(None, Y, 2), "x must hold arrays; got None"),
        (lambda: jmeta.minibatches(["a", "b"], None, 2), "x must hold numbers; got dtype <U1"),
        (lambda: jmeta.minibatches({"x": [1.0]}, None, 1), "x must hold arrays; got float"),
        (lambda: jmeta.minibatches([[1.0], [1.0, 2.0]], None, 1), "x must have rows of one shape; got a list of different ones"),
        (lambda: jmeta.minibatches(np.zeros((0, 2)), None, 1), "data must hold at least one example; got none"),
        (
            lambda: jmeta.minibatches(np.array([2**40]), None, 1),
            "x must fit into int32; got int64 from 1099511627776 to 1099511627776",
        ),
        (lambda: jmeta.minibatches(X, np.full((4, 1), 1e300), 1), r"y must fit into float32; got float64 from 1e\+300 to 1e\+300"),
    ],
)
def test_examples_that_make_no_mini_batch_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- episodes of a list of tasks --------------------------------------------------------------------------------------------------


def objects():
    tasks, column = table(["d", "b", "c", "a"])
    return tasks, column.astype(object)


TABLES = {
    "a list": lambda: (ragged(), None),
    "integers": lambda: table([40, 7, 12, -3]),
    "strings": lambda: table(["d", "b", "c", "a"]),
    "objects": objects,
}
# The order of the sorted names: tasks 3, 1, 2, 0, and of a list as it is.
ORDER = {"a list": [0, 1, 2, 3], "integers": [3, 1, 2, 0], "strings": [3, 1, 2, 0], "objects": [3, 1, 2, 0]}


@pytest.mark.parametrize("kind", TABLES)
def test_episodes_of_a_list_are_disjoint_parts_of_one_task_each(kind):
    tasks, groups = TABLES[kind]()
    sampler = jmeta.episodes_from(tasks, groups=groups, shots=3, queries=3)
    assert sampler.size == 4
    episodes = draw(sampler, 60)
    for index in range(60):
        episode = one(episodes, index)
        task = ORDER[kind][int(episode.task)]
        support, query = real(episode.support), real(episode.query)
        assert {number for number, _ in support + query} == {task}
        assert len(support) == 3
        # As many as there are: 1 of the task of 4 examples.
        assert len(query) == min(3, SIZES[task] - 3)
        assert len({*support, *query}) == len(support) + len(query)
        np.testing.assert_array_equal(episode.support.y, episode.support.x.sum(axis=1, keepdims=True))
        np.testing.assert_array_equal(episode.query.y, episode.query.x.sum(axis=1, keepdims=True))
        assert episode.classes is None
    assert {*episodes.task.tolist()} == {0, 1, 2, 3}


def test_tasks_and_their_examples_are_drawn_equally_often():
    sampler = jmeta.episodes_from(ragged(), shots=2, queries=2)
    episodes = draw(sampler, 4000)
    assert episodes.support.mask is None
    # 1/4 each with standard error 0.0069.
    assert np.abs(np.bincount(episodes.task, minlength=4) / 4000 - 0.25).max() < 4 * 0.0069
    for task, size in enumerate(SIZES):
        of_task = one(episodes, episodes.task == task)
        for part in (of_task.support, of_task.query):
            share = np.bincount(part.x[..., 1].astype(int).ravel(), minlength=size) / len(part.x)
            # 2 of ``size``; the standard error is at most 0.5 / sqrt(900).
            assert np.abs(share - 2 / size).max() < 4 * 0.0167


def test_without_queries_given_all_that_is_left_is_the_query():
    sampler = jmeta.episodes_from(ragged(), shots=1)
    for index, size in enumerate(SIZES):
        episode = jax.device_get(sampler.at(sampler.data, jnp.int32(index), KEY))
        assert sorted(real(episode.support) + real(episode.query)) == [(index, number) for number in range(size)]
        assert len(episode.query.x) == max(SIZES) - 1
        assert episode.task == index


def labelled(counts, classes=3):
    """A task with ``counts`` examples of its classes, in shuffled order, whose inputs are (class, number)."""
    rows = [(label, number) for label in range(classes) for number in range(counts[label])]
    order = np.random.default_rng(sum(counts)).permutation(len(rows))
    x = np.array(rows, np.float32)[order]
    return Batch(x, x[:, 0].astype(np.uint8))


def test_with_ways_support_and_query_are_drawn_for_each_class_there_is():
    counts = [(4, 6, 3), (5, 0, 9), (3, 3, 3)]
    sampler = jmeta.episodes_from([labelled(each) for each in counts], ways=3, shots=2, queries=2)
    episodes = draw(sampler, 40)
    for index in range(40):
        episode = one(episodes, index)
        available = counts[int(episode.task)]
        np.testing.assert_array_equal(episode.classes, np.array(available) > 0)
        for part, size in (
            (episode.support, [2 * (n > 0) for n in available]),
            (episode.query, [min(2, max(n - 2, 0)) for n in available]),
        ):
            np.testing.assert_array_equal(np.bincount(part.y[part.mask], minlength=3), size)
            np.testing.assert_array_equal(part.x[part.mask][:, 0], part.y[part.mask])
        both = real(episode.support) + real(episode.query)
        assert len({*both}) == len(both)


def test_nobody_sees_a_class_that_a_task_does_not_have():
    """The prototypes of the two classes of a task of three, written out."""
    sampler = jmeta.episodes_from([labelled((5, 0, 9)), labelled((3, 3, 3))], ways=3, shots=2, queries=2)
    episode = jax.device_get(sampler.at(sampler.data, jnp.int32(0), KEY))
    learner = jmeta.prototypical_networks(jmeta.from_functions(lambda key, x: jnp.eye(2), lambda params, x: x @ params))
    (support, query), there = ((part.x[part.mask], part.y[part.mask]) for part in episode[:2]), np.array([0, 2])
    prototypes = np.stack([support[0][support[1] == label].mean(axis=0) for label in there])
    logits = -np.square(query[0][:, None] - prototypes[None]).sum(axis=-1)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), query[1] // 2]
    loss, _ = learner.loss(learner.init(KEY, episode), KEY, episode)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)


def test_whole_numbers_serve_as_targets_and_trees_as_inputs_and_targets():
    tasks = [
        Batch({"ids": np.full((size, 2), size), "length": np.arange(size)}, {"counts": np.arange(size, dtype=np.uint32)})
        for size in (4, 6)
    ]
    sampler = jmeta.episodes_from(tasks, shots=2, queries=1)
    episode = one(draw(sampler, 2), 0)
    np.testing.assert_array_equal(episode.support.x["length"], episode.support.y["counts"])
    assert episode.support.x["ids"].shape == (2, 2)


def test_missing_targets_have_weight_zero_in_the_episode_too():
    task = marked(0, 5)
    weights = np.array([1.0, 0, 2, 1, 0], np.float32)
    task = task._replace(y=np.where(weights[:, None] == 0, np.nan, task.y), weights=weights)
    episodes = draw(jmeta.episodes_from([task, task], shots=2, queries=3), 10)
    for part in episodes[:2]:
        np.testing.assert_array_equal(part.weights, weights[part.x[..., 1].astype(int)])
        np.testing.assert_array_equal(np.isnan(part.y[..., 0]), part.weights == 0)


def test_bytes_become_floats_in_every_kind_of_episode():
    bytes_ = Batch(np.full((3, 2), 255, np.uint8), np.ones((3, 1), np.float32))
    for sampler in (
        jmeta.episodes_from([bytes_, bytes_], shots=1),
        jmeta.episodes_from([Episode(bytes_, bytes_)] * 2),
        jmeta.episodes_from(jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), bytes_), groups=[0, 0, 0, 1, 1, 1], shots=1),
    ):
        assert jax.tree.leaves(sampler.data)[0].dtype == np.uint8
        episode = sampler.sample(sampler.data, KEY)
        for part in episode[:2]:
            np.testing.assert_array_equal(part.x, np.ones_like(part.x, np.float32))


# --- episodes that are split already ----------------------------------------------------------------------------------------------


def split():
    """Four episodes of different sizes."""
    episodes = []
    for task, size in enumerate(SIZES):
        whole = marked(task, size)
        episodes.append(Episode(one(whole, slice(0, 2)), one(whole, slice(2, size))))
    return episodes


def test_episodes_that_are_split_stay_so_and_are_padded_to_the_largest():
    sampler = jmeta.episodes_from(split())
    assert sampler.size == 4
    for index, episode in enumerate(split()):
        for found in (
            sampler.at(sampler.data, jnp.int32(index), KEY),
            sampler.at(sampler.data, jnp.int32(index), jax.random.key(1)),
        ):
            assert real(jax.device_get(found.support)) == real(episode.support)
            assert real(jax.device_get(found.query)) == real(episode.query)
            assert found.query.x.shape == (7, 2)
            assert found.task == index
    assert {*draw(sampler, 40).task.tolist()} == {0, 1, 2, 3}
    same = jmeta.episodes_from([split()[0]] * 3)
    assert same.sample(same.data, KEY).query.mask is None


def test_episodes_that_are_split_may_have_classes():
    def part(labels):
        return Batch(np.ones((len(labels), 2), np.float32), np.array(labels, np.uint8))

    episodes = [Episode(part([0, 1]), part([1, 0, 0])), Episode(part([0, 2]), part([2]))]
    sampler = jmeta.episodes_from(episodes, ways=4)
    found = [sampler.at(sampler.data, jnp.int32(index), KEY) for index in range(2)]
    np.testing.assert_array_equal([episode.classes for episode in found], [[True, True, False, False], [True, False, True, False]])
    np.testing.assert_array_equal(found[1].query.mask, [True, False, False])


# --- finite lists are visited once ------------------------------------------------------------------------------------------------


def identity_learner():
    """Predicts the task's number."""
    return jmeta.Learner(
        init=lambda key, episode: jnp.ones(()),
        adapt=lambda params, key, support, *, classes=None, training=False: (),
        predict=lambda params, adapted, x, *, key=None, mask=None: params * x[:, :1],
        loss=lambda params, key, episode, *, step=0, training=True: (params, {"loss": params}),
    )


def the_output(outputs, targets):
    return outputs + 0 * targets


@pytest.mark.parametrize("tasks", [ragged, split], ids=["ragged", "split"])
def test_evaluate_visits_each_task_of_a_list_exactly_once(tasks):
    options = {} if tasks is split else {"shots": 2}
    sampler = jmeta.episodes_from(tasks(), **options)
    for seed in (0, 1):
        found = jmeta.evaluate(identity_learner(), jnp.ones(()), sampler, metric=the_output, seed=seed)
        assert sorted(found.values[:, 0].tolist()) == [0, 1, 2, 3]
    fewer = jmeta.evaluate(identity_learner(), jnp.ones(()), sampler, metric=the_output, episodes=3)
    assert len({*fewer.values[:, 0].tolist()}) == 3
    with pytest.raises(ValueError, match="episodes must be at most the 4 tasks of the list, each of which is taken once; got 5"):
        jmeta.evaluate(identity_learner(), jnp.ones(()), sampler, metric=the_output, episodes=5)


# --- what makes no episode --------------------------------------------------------------------------------------------------------

PART = Batch(X, Y)
LABELLED = Batch(X, np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("tasks", "options", "sentence"),
    [
        ([], {"shots": 1}, "tasks must hold at least one task; got none"),
        ([PART], {}, "shots must be given, the support examples of a task; got None"),
        ([PART], {"shots": 0}, "shots must be a whole number of at least 1; got 0"),
        ([PART], {"shots": 1, "queries": 1.5}, "queries must be a whole number of at least 1; got 1.5"),
        ([LABELLED], {"shots": 1, "ways": 2.5}, "ways must be a whole number of at least 1; got 2.5"),
        ([PART, one(PART, slice(2))], {"shots": 2}, "shots must leave each task a query; got shots=2 and task 1 with 2 examples"),
        (
            [LABELLED],
            {"shots": 2, "ways": 2},
            "shots must leave each task a query; got shots=2 and task 0 with 2 examples of class 0",
        ),
        ([PART, X], {"shots": 1}, r"tasks\[1\] must be a Batch\(x, y\); got ndarray"),
        ([PART, (X, Y)], {"shots": 1}, r"tasks\[1\] must be a Batch\(x, y\); got tuple"),
        ([PART], {"shots": 1, "groups": [0] * 4}, "groups must be given with one Batch of all tasks, and not with a list of tasks"),
        (PART, {"shots": 1}, "groups must be given with one Batch of all tasks, and not with a list of tasks"),
        (PART, {"shots": 1, "groups": [0, 1, 1]}, r"groups must be \[n\] with one entry per row; got \(3,\) for 4 rows"),
        (PART, {"shots": 1, "groups": [0.0, 1.0, np.nan, np.nan]}, "groups must hold integers or strings; got dtype float64"),
        (PART, {"shots": 1, "groups": ["a", "a", None, "b"]}, "groups must hold integers or strings; got dtype object"),
        ([PART._replace(mask=np.ones(4, bool))], {"shots": 1}, r"tasks\[0\] must hold real rows alone, without a mask"),
        ([PART._replace(x=X * np.inf)], {"shots": 1}, r"tasks\[0\].x must be finite; got 8 values that are NaN or infinite"),
        ([PART._replace(y=Y * np.nan)], {"shots": 1}, r"tasks\[0\].y must be finite; got 4 values that are NaN or infinite"),
        ([PART._replace(weights=-np.ones(4))], {"shots": 1}, r"tasks\[0\].weights must be finite and at least 0; got -1.0"),
        ([PART._replace(x=np.full((4, 1), "a"))], {"shots": 1}, r"tasks\[0\].x must hold numbers; got dtype <U1"),
        ([PART._replace(x=None)], {"shots": 1}, r"tasks\[0\].x must hold arrays; got None"),
        ([PART._replace(y=Y[:2])], {"shots": 1}, r"tasks\[0\].x and tasks\[0\].y must have one row per example"),
        (
            [PART, PART._replace(x=X[:, :1])],
            {"shots": 1},
            r"tasks must differ in their number of rows alone; got \[\(1,\), \(1,\)\] and \[\(2,\)",
        ),
        ([PART, PART._replace(weights=np.ones(4))], {"shots": 1}, "tasks must differ in their number of rows alone; got"),
        (
            [PART],
            {"shots": 1, "ways": 2},
            r"tasks\[0\].y must hold one integer label per row where there are ways; got float32\[4, 1\]",
        ),
        ([LABELLED], {"shots": 1, "ways": 1}, r"tasks\[0\].y must hold labels 0, ..., 0; got label 1"),
        ([Batch(X, np.array([0, 0, -1, -1]))], {"shots": 1, "ways": 2}, r"tasks\[0\].y must hold labels 0, ..., 1; got label -1"),
        ([Episode(PART, PART)], {"shots": 1}, "shots and queries must be None for episodes, which are split already"),
        ([Episode(PART, PART), PART], {}, "shots and queries must be None for episodes, .* and all tasks be episodes"),
        ([Episode(PART, PART._replace(x=X * np.nan))], {}, "query.x must be finite; got 8 values that are NaN or infinite"),
        ([Episode(PART, PART)], {"ways": 2}, r"ways=2 needs support.y to hold one integer label per row; got float32\[4, 1\]"),
        (
            [Episode(*[jax.tree.map(lambda leaf: leaf[None], LABELLED)] * 2, np.ones((1, 2), bool))],
            {},
            "episode must be one task; got a batch of 1",
        ),
    ],
)
def test_tasks_that_make_no_episode_are_refused(tasks, options, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        jmeta.episodes_from(tasks, **options)
    assert "\n" not in str(error.value)
