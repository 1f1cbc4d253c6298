"""Impartial gradients against the paper's closed form and the pseudo-inverse of Quinton and Rey."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta

COMBINE = jax.jit(jmeta.imtl_g().combine)


def combine(rows):
    rows = jnp.asarray(rows)
    return np.asarray(COMBINE(rows, (), losses=jnp.ones(len(rows)), present=jnp.ones(len(rows), bool), key=None)[0])


def paper(rows):
    """Equation 5 of Liu et al.: the weights of all but the first task, which takes what is left of 1."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gradients, directions = rows[:1] - rows[1:], units[:1] - units[1:]
    rest = rows[0] @ directions.T @ np.linalg.inv(gradients @ directions.T)
    return np.array([1 - rest.sum(), *rest]) @ rows


def draw(tasks, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(tasks, 40)) * 10 ** generator.uniform(0, 4, size=(tasks, 1))


@pytest.mark.parametrize("tasks", [2, 7, 32])
def test_it_is_the_paper_s_closed_form_and_its_projections_are_equal(x64, tasks):
    rows = draw(tasks)
    got = combine(rows)
    # The largest condition, of 32 tasks whose lengths differ by 10,000.
    np.testing.assert_allclose(got, paper(rows), rtol=0, atol=1e-9 * np.linalg.norm(got))
    projections = rows @ got / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(projections, projections[0], rtol=1e-9)


def test_short_gradients_keep_their_part_in_float32():
    """The Gramian of lengths from 1 to 10,000 has no rank in float32; their cosines have."""
    rows = draw(4)
    expected = paper(rows)
    np.testing.assert_allclose(combine(rows.astype(np.float32)), expected, rtol=0, atol=1e-4 * np.linalg.norm(expected))


def test_dependent_unit_gradients_are_weighted_by_the_pseudo_inverse(x64):
    """Of five gradients in three dimensions no direction has equal projections; it is the one of least squares."""
    rows = np.random.default_rng(1).normal(size=(5, 3)) @ np.random.default_rng(2).normal(size=(3, 40))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = np.linalg.pinv(rows @ rows.T, rcond=1e-10) @ np.ones(5)
    expected = weights @ rows / weights.sum()
    np.testing.assert_allclose(combine(rows), expected, rtol=0, atol=1e-9 * np.linalg.norm(expected))


def test_parallel_gradients_are_the_limit_of_nearly_parallel_ones(x64):
    """Of the direction, and as long as the harmonic mean."""
    first, second = np.random.default_rng(0).normal(size=(2, 40))
    first /= np.linalg.norm(first)
    np.testing.assert_allclose(combine(np.stack([first, 3 * first])), 1.5 * first, rtol=1e-12)
    np.testing.assert_allclose(combine(np.stack([first, 3 * first + 1e-5 * second])), 1.5 * first, atol=1e-4)


@pytest.mark.parametrize("length", [1.0, 3.0, 1e4])
def test_opposite_gradients_cancel(length):
    rows = np.random.default_rng(0).normal(size=(1, 40)) * np.array([[1.0], [-length]])
    assert np.linalg.norm(combine(rows.astype(np.float32))) < 1e-5


def test_it_is_zero_where_weights_cannot_sum_to_one_though_nothing_is_stationary(x64):
    """The counterexample to strong stationarity: independent gradients, which no weights cancel."""
    cosines = np.array([[1, 0.5, 0.8], [0.5, 1, 0.8], [0.8, 0.8, 1]])
    # The cosines' inverse has row sums 10/11, 10/11 and -5/11.
    rows = np.array([[4.0], [4], [1]]) * np.linalg.cholesky(cosines)
    assert np.linalg.matrix_rank(rows) == 3
    assert not combine(rows).any()
