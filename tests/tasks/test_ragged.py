"""Tasks of different sizes: stacked, and sampled together."""

import jax
import numpy as np
import pytest

import jmeta
from jmeta import Batch

SIZES = {"b": 5, "a": 3, "c": 7}


@pytest.fixture(scope="module")
def tasks():
    """Rows that say of which task and which of its rows they are; one target in four is missing."""
    found = {}
    for number, (name, size) in enumerate(SIZES.items()):
        rows = 100 * number + np.arange(size)
        found[name] = Batch(rows[:, None].astype(np.float32), -rows, None, (rows % 4 > 0).astype(np.float32))
    return found


def test_stacking_pads_to_the_largest_in_the_order_of_names(tasks):
    stacked = jmeta.stack_tasks(tasks)
    assert (stacked.x.shape, stacked.y.shape, stacked.weights.shape) == ((3, 7, 1), (3, 7), (3, 7))
    for row, name in enumerate("abc"):
        np.testing.assert_array_equal(np.asarray(stacked.mask)[row], np.arange(7) < SIZES[name])
        for leaf, own in zip(
            (stacked.x, stacked.y, stacked.weights), (tasks[name].x, tasks[name].y, tasks[name].weights), strict=True
        ):
            np.testing.assert_array_equal(leaf[row, : SIZES[name]], own)
    assert jmeta.stack_tasks({"a": tasks["a"], "z": tasks["a"]}).mask is None


def test_a_mean_over_stacked_tasks_is_that_of_each_alone(tasks):
    def objective(params, key, batch, *, step=0):
        del key, step
        loss = jmeta.score(jmeta.squared_error, batch.x[:, 0] * params, batch._replace(y=batch.y.astype(float)))
        return loss, {"loss": loss}

    value, _ = jax.jit(jmeta.over_tasks(objective))(2.0, jax.random.key(0), jmeta.stack_tasks(tasks))
    alone = [(task.weights * (2 * task.x[:, 0] - task.y) ** 2).sum() / task.weights.sum() for task in tasks.values()]
    np.testing.assert_allclose(value, np.mean(alone), rtol=1e-6)


def test_every_task_is_drawn_without_replacement_and_small_ones_are_masked(tasks):
    sampler = jmeta.task_minibatches(tasks, 5)
    sample = jax.jit(sampler.sample)
    seen = {name: set() for name in tasks}
    for seed in range(20):
        drawn = sample(sampler.data, jax.random.key(seed))
        assert [*drawn] == ["a", "b", "c"]
        for name, batch in drawn.items():
            assert batch.x.shape == (5, 1)
            rows = np.asarray(batch.x)[np.asarray(batch.mask), 0]
            assert len(set(rows.tolist())) == len(rows) == min(5, SIZES[name])
            # Targets and weights are those of the rows.
            np.testing.assert_array_equal(batch.y[batch.mask], -rows)
            np.testing.assert_array_equal(batch.weights[batch.mask], rows % 4 > 0)
            seen[name] |= set(rows.tolist())
    assert seen == {name: set(task.x[:, 0].tolist()) for name, task in tasks.items()}


def test_no_mask_where_none_is_needed_and_all_rows_without_a_size(tasks):
    small = jmeta.task_minibatches(tasks, 3)
    assert all(batch.mask is None for batch in small.sample(small.data, jax.random.key(0)).values())
    whole = jmeta.task_minibatches(tasks)
    drawn = whole.sample(whole.data, jax.random.key(0))
    np.testing.assert_array_equal(drawn["b"].x[:5], tasks["b"].x)
    assert drawn["b"].mask.sum() == 5


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        ({}, 8, "size must be at most the rows of the largest task; got size=8 and 7 rows"),
        ({}, 0, "size must be a whole number of at least 1; got 0"),
        ({"a": Batch(np.ones((2, 2)), np.ones(2))}, None, "tasks must differ in their number of rows alone"),
        ({"a": Batch(np.ones((2, 1)), np.ones(2), np.ones(2, bool))}, None, r"tasks\['a'\] must hold real rows alone"),
        ({"a": Batch(np.full((2, 1), np.nan), np.ones(2))}, None, r"tasks\['a'\].x must be finite"),
    ],
)
def test_what_makes_no_batches_is_refused(tasks, change, size, message):
    with pytest.raises(ValueError, match=message):
        jmeta.task_minibatches(tasks | change, size)
    with pytest.raises(ValueError, match="at least one task"):
        jmeta.stack_tasks({})
