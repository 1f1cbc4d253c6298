"""The small solvers against Lawson and Hanson's algorithm, and against the equations they solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from jmeta.aggregation import _solvers
from tests.aggregation.hard_cases import rows_of_cases


def units(rows):
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def cosines_of(rows):
    """With a diagonal of ones, whatever is zero."""
    cosines = rows @ rows.swapaxes(-1, -2)
    return np.where(np.eye(rows.shape[-2], dtype=bool), 1, cosines)


@pytest.mark.parametrize("tasks", [2, 9, 32])
def test_the_quadratic_program_is_solved_exactly(x64, tasks):
    """Every gradient of every hard case is projected; what is added is that of a solver that sees the gradients themselves."""
    rows = units(rows_of_cases(tasks, parameters=40))
    cosines = cosines_of(rows)
    added = jax.jit(jax.vmap(jax.vmap(lambda cosines, row: _solvers.non_negative(cosines, -row), (None, 0))))(cosines, cosines)
    added = np.asarray(added)
    assert (added >= 0).all()
    for case, of_case in enumerate(rows):
        for task in range(tasks):
            expected = nnls(of_case.T, -of_case[task], maxiter=1000)[0]
            # Cosines of nearly parallel gradients, 1 - 1e-6, know the gradients to half of the digits.
            np.testing.assert_allclose(added[case, task] @ of_case, expected @ of_case, atol=1e-8)


def test_more_gradients_than_dimensions_are_as_good(x64):
    """What is added to one of 16 gradients in 4 dimensions is unique, its parts are not; and nothing where nothing conflicts."""
    rows = units(rows_of_cases(16, parameters=4))
    added = np.asarray(jax.jit(jax.vmap(lambda cosines: _solvers.non_negative(cosines, -cosines[0])))(cosines_of(rows)))
    assert (added >= 0).all()
    for of_case, found in zip(rows, added, strict=True):
        # Dependent gradients change places at pivots of 4e-11, and take the square root of rounding along.
        np.testing.assert_allclose(found @ of_case, nnls(of_case.T, -of_case[0], maxiter=1000)[0] @ of_case, atol=1e-7)
    assert not _solvers.non_negative(jnp.eye(3), -jnp.ones(3)).any()


def test_a_path_ends_where_it_reaches_its_radius(x64):
    """Of two orthogonal directions the second joins at t = 1: z = (t, t - 1), until its length is 5."""
    found = _solvers.follow(jnp.eye(3), jnp.array([0.0, -1.0, 0.0]), jnp.array([1.0, 1.0, 0.0]), end=jnp.array(9.0), radius=5.0)
    np.testing.assert_allclose(found, [4.0, 3.0, 0.0], rtol=1e-9)
    early = _solvers.follow(jnp.eye(3), jnp.array([0.0, -1.0, 0.0]), jnp.array([1.0, 1.0, 0.0]), end=jnp.array(0.5), radius=5.0)
    np.testing.assert_allclose(early, [0.5, 0.0, 0.0], rtol=1e-12)


def test_a_variable_may_leave_again(x64):
    """Computed by hand: the second starts first, and is 0 again when the first, with twice its slope, has overtaken it."""
    cosines = jnp.array([[1.0, 0.8], [0.8, 1.0]])
    follow = jax.jit(lambda end: _solvers.follow(cosines, jnp.array([-1.0, 0.0]), jnp.array([2.0, 1.0]), end=end))
    # Alone the second is t. The first joins where 2 t - 1 = 0.8 t; together z = C^-1 (2 t - 1, t) has a second part of
    # (t - 0.8 (2 t - 1)) / 0.36, which is 0 at t = 4 / 3; then the first is alone.
    for time, expected in ((0.5, [0, 0.5]), (1.0, [0.2 / 0.36, 0.2 / 0.36]), (2.0, [3.0, 0.0])):
        np.testing.assert_allclose(follow(time), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 3.0])
def test_a_bargain_solves_its_equations(x64, exponent):
    """From shares far off, of demands far apart."""
    generator = np.random.default_rng(0)
    rows = units(generator.normal(size=(6, 8)))
    cosines, demands = rows @ rows.T, np.logspace(-2, 2, 6)
    solve = jax.jit(lambda start: _solvers.bargain(jnp.asarray(cosines), jnp.asarray(demands), start, exponent=exponent))
    for start in (np.ones(6), np.logspace(4, -4, 6)):
        shares = np.asarray(solve(start))
        assert (shares > 0).all()
        np.testing.assert_allclose(cosines @ shares, demands * shares**-exponent, rtol=1e-9)
