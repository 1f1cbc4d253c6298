"""Drawing a few of many numbers, at random and without replacement."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jmeta.tasks._drawing import MANY, draw_distinct

DRAWS = 4000


@functools.cache
def drawn(count, size):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda key: draw_distinct(key, count, size)))(keys))


@pytest.mark.parametrize("count", [10, MANY, 4096, 5000])
def test_numbers_are_distinct_and_among_those_there_are(count):
    found = drawn(count, 8)
    assert found.min() >= 0
    assert found.max() < count
    assert all(len(set(row.tolist())) == 8 for row in found)


def test_all_may_be_drawn():
    assert sorted(draw_distinct(jax.random.key(1), 3001, 3001).tolist()) == list(range(3001))


@pytest.mark.parametrize("count", [MANY, 5000])
def test_every_number_every_pair_and_every_order_is_as_likely(count):
    """Chi-squared tests that a fair draw fails once in a thousand: of places, of pairs of halves, and of which comes first."""
    found = drawn(count, 8)
    bins = np.floor(found * 16 / count).astype(int)
    width = np.bincount(np.floor(np.arange(count) * 16 / count).astype(int)) / count
    for place in (0, 7):
        assert stats.chisquare(np.bincount(bins[:, place], minlength=16), width * DRAWS).pvalue > 0.001
    pairs = 4 * (bins[:, 0] // 4) + bins[:, 1] // 4
    quarter = width.reshape(4, 4).sum(axis=1)
    assert stats.chisquare(np.bincount(pairs, minlength=16), np.outer(quarter, quarter).ravel() * DRAWS).pvalue > 0.001
    assert stats.binomtest(int((found[:, 0] < found[:, 1]).sum()), DRAWS).pvalue > 0.001
    low = np.bincount(found[:, 0] % 16, minlength=16)
    assert stats.chisquare(low, np.bincount(np.arange(count) % 16) / count * DRAWS).pvalue > 0.001


def test_neighbouring_keys_draw_other_numbers():
    """How many two draws of 256 of 5,000 have in common is hypergeometric: 13.1 at a deviation of 3.4."""
    one, other = (draw_distinct(jax.random.fold_in(jax.random.key(0), at), 5000, 256) for at in (0, 1))
    assert 0 < len(np.intersect1d(one, other)) < 13.1 + 4 * 3.4


def test_draws_are_mapped():
    keys = jax.random.split(jax.random.key(3), 3)
    mapped = jax.vmap(lambda key: draw_distinct(key, 5000, 4))(keys)
    np.testing.assert_array_equal(mapped, jnp.stack([draw_distinct(key, 5000, 4) for key in keys]))
