"""Gradient sign dropout: what it may give in every element, and its expectation in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta

KEYS = 1000


def combine(aggregator, gradients, key, tasks=3):
    known = {"losses": jnp.ones(3), "present": jnp.ones(3, bool), "key": key}
    return aggregator.combine(gradients, aggregator.init(tasks), **known)[0]


def draw():
    rows = np.random.default_rng(0).normal(size=(3, 8))
    rows[:, 0], rows[:, 1] = np.abs(rows[:, 0]), 0
    return rows


def drawn(aggregator, rows, tasks=3):
    """The results ``[keys, d]`` with many keys."""
    run = jax.jit(jax.vmap(lambda key: combine(aggregator, jnp.asarray(rows), key, tasks)))
    return np.asarray(run(jax.random.split(jax.random.key(0), KEYS)))


def test_every_element_is_the_sum_of_one_sign_and_the_expectation_that_of_the_purity(x64):
    rows = draw()
    results = drawn(jmeta.graddrop(), rows)
    positive, negative = np.maximum(rows, 0).sum(axis=0), np.minimum(rows, 0).sum(axis=0)
    is_positive = np.isclose(results, positive, rtol=1e-12)
    assert (is_positive | np.isclose(results, negative, rtol=1e-12)).all()
    purity = positive / np.where(positive == negative, 1, positive - negative)
    expected = purity * positive + (1 - purity) * negative
    # Five standard errors of a mean of two values; elements of one sign have none.
    error = 5 * (positive - negative) * np.sqrt(purity * (1 - purity) / KEYS)
    assert (np.abs(results.mean(axis=0) - expected) <= error + 1e-12).all()
    # Elements are drawn one by one.
    mixed = is_positive[:, 2:].astype(float)
    correlations = np.corrcoef(mixed[:, mixed.std(axis=0) > 0], rowvar=False)
    assert np.abs(correlations - np.eye(len(correlations))).max() < 5 / np.sqrt(KEYS)


def test_what_leaks_is_never_dropped(x64):
    """A leak of 1 is the sum; a task's leak is what is left of it where the other sign is kept."""
    rows = draw()
    np.testing.assert_allclose(drawn(jmeta.graddrop(leak=1.0), rows), np.tile(rows.sum(axis=0), (KEYS, 1)), rtol=1e-12)
    leak = {"a": 0.25, "c": 0.5}
    results = drawn(jmeta.graddrop(leak=leak), rows, ["a", "b", "c"])
    parts = np.array([[0.25], [0.0], [0.5]])
    kept = [np.where(sign, rows, parts * rows).sum(axis=0) for sign in (rows > 0, rows < 0)]
    assert np.logical_or(*[np.isclose(results, either, rtol=1e-12) for either in kept]).all()
    assert not np.isclose(results, kept[0], rtol=1e-12).all()


def test_the_draw_is_the_same_however_elements_are_divided_into_leaves(x64):
    rows, key = jnp.asarray(draw()), jax.random.key(1)
    apart = combine(jmeta.graddrop(), [rows[:, :2], rows[:, 2:6].reshape(3, 2, 2), rows[:, 6:]], key)
    np.testing.assert_array_equal(np.concatenate([np.ravel(leaf) for leaf in apart]), combine(jmeta.graddrop(), rows, key))


def test_wrong_leaks_and_a_missing_key_are_refused():
    with pytest.raises(ValueError, match=r"leak must be from 0 to 1; got 1\.5"):
        jmeta.graddrop(leak=1.5).init(3)
    with pytest.raises(ValueError, match="key must be given to graddrop; got None"):
        combine(jmeta.graddrop(), jnp.ones((3, 2)), None)
