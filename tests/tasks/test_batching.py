"""Batches of tasks, several samplers at once, and padding."""

import jax
import jax.numpy as jnp
import numpy as np
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
