"""What a learner is told of a support: targets as numbers, and the order of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta.model_based._told import numbers, order_of, told

REAL = jnp.array([False, True, True, False, True, False])


@pytest.mark.parametrize(("real_last", "expected"), [(False, [1, 2, 4, 0, 3, 5]), (True, [0, 3, 5, 1, 2, 4])])
def test_rows_as_they_stand_only_make_room(real_last, expected):
    assert order_of(None, REAL, shuffles=False, real_last=real_last).tolist() == expected


@pytest.mark.parametrize("real_last", [False, True])
def test_drawn_orders_keep_the_real_rows_together_and_are_all_equally_likely(real_last):
    draw = jax.vmap(lambda key: order_of(key, REAL, shuffles=True, real_last=real_last))
    orders = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    together = orders[:, 3:] if real_last else orders[:, :3]
    found, counts = np.unique(together, axis=0, return_counts=True)
    assert {tuple(sorted(order)) for order in found.tolist()} == {(1, 2, 4)}
    # Of 6,000 draws 1,000 each, give or take 29: five times as much.
    np.testing.assert_allclose(counts, 1000, atol=145)
    assert len(counts) == 6


def test_labels_are_told_one_hot_and_what_does_not_count_as_zeros():
    support = jmeta.Batch(
        jnp.zeros((5, 1)), jnp.array([2, 0, 1, 7, 0]), jnp.array([True] * 4 + [False]), jnp.array([0.5, 0, 2, 1, 1])
    )
    values, counts = told(support, jnp.array([True, True, True, False]))
    np.testing.assert_array_equal(values, [[0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(counts, [0.5, 0, 2, 0, 0])


def test_numbers_are_told_as_they_are():
    support = jmeta.Batch(
        jnp.zeros((3, 1)), jnp.array([[1.0, 2.0], [jnp.nan, 3.0], [4.0, 5.0]]), weights=jnp.array([1.0, 0.0, 3.0])
    )
    values, counts = told(support, None)
    np.testing.assert_array_equal(values, [[1, 2], [0, 0], [4, 5]])
    np.testing.assert_array_equal(counts, [1, 0, 3])


def test_trees_of_any_type_become_rows_of_numbers():
    tree = {"a": np.arange(4, dtype=np.uint8).reshape(2, 1, 2), "b": jnp.ones((2, 1), jnp.bfloat16)}
    rows = numbers(tree)
    assert rows.dtype == jnp.float32
    np.testing.assert_array_equal(rows, [[0, 1, 1], [2, 3, 1]])
