"""CAGrad against its own dual, which is above every direction and touches the best, another solver, and closed forms."""

import numpy as np
import pytest

import jmeta
from benchmarks.gradients import cagrad
from tests.aggregation.hard_cases import CASES, combine_each, distance, rows_of_cases

CAGRAD = jmeta.cagrad(rescale=False)


def test_two_orthogonal_tasks_have_a_closed_form(x64):
    """The worse one is the shorter; as far as the ball allows, it is helped alone."""
    rows = np.zeros((2, 2, 3))
    rows[0, [0, 1], [0, 1]] = 1.0, 1.0
    rows[1, [0, 1], [0, 1]] = 10.0, 1.0
    equal, unequal = combine_each(jmeta.cagrad(c=0.4, rescale=False), rows)
    # Both count the same: further along the mean.
    np.testing.assert_allclose(equal, [0.7, 0.7, 0.0], rtol=1e-12)
    # The mean is (5, 0.5); along the second gradient a step of 0.4 times its length.
    np.testing.assert_allclose(unequal, [5.0, 0.5 + 0.4 * np.sqrt(25.25), 0.0], rtol=1e-12)


@pytest.mark.parametrize("tasks", [2, 5, 32])
def test_it_is_the_direction_of_an_exact_solver(x64, tasks):
    rows = rows_of_cases(tasks)
    for name, found, of_case in zip(CASES, combine_each(CAGRAD, rows), rows, strict=True):
        # Two gradients that cancel end the path; what is added to the diagonal, 4e-11, lets it go on for the square root of that.
        assert distance(found, cagrad(of_case), of_case) < (2e-5 if name == "two opposite" else 1e-6), name


@pytest.mark.parametrize("c", [0.1, 1.5])
def test_no_direction_in_the_ball_is_better_for_the_worst_task(x64, c):
    """For whatever weights w of sum 1, none is better than <g_w, g_0> + c |g_0| |g_w|."""
    rows = rows_of_cases(5)[[CASES.index(name) for name in ("random", "two equal", "lengths 1 to 1e4", "in conflict")]]
    for found, of_case in zip(combine_each(jmeta.cagrad(c=c, rescale=False), rows), rows, strict=True):
        mean = of_case.mean(axis=0)
        reach = c * np.linalg.norm(mean)
        # What is added to the mean is a combination of the gradients with positive weights.
        weights = np.linalg.lstsq(of_case.T, found - mean, rcond=None)[0]
        assert (weights > -1e-7 * weights.max()).all()
        added = (found - mean) / weights.sum()
        bound = added @ mean + reach * np.linalg.norm(added)
        np.testing.assert_allclose((of_case @ found).min(), bound, rtol=1e-7, atol=1e-9 * np.linalg.norm(of_case, axis=1).max())


@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_it_stays_in_the_ball(x64, dtype, rounding):
    rows = rows_of_cases(5)
    for found, of_case in zip(combine_each(CAGRAD, rows, dtype), rows, strict=True):
        mean = of_case.mean(axis=0)
        assert np.isfinite(found).all()
        assert np.linalg.norm(found - mean) <= 0.5 * np.linalg.norm(mean) + rounding * np.linalg.norm(of_case, axis=1).max()


def test_it_is_divided_by_as_much_as_the_authors_do(x64):
    rows = rows_of_cases(3)[:1]
    rescaled, plain = (combine_each(jmeta.cagrad(c=0.5, rescale=rescale), rows) for rescale in (True, False))
    np.testing.assert_allclose(rescaled * 1.25, plain, rtol=1e-12)
    np.testing.assert_allclose(combine_each(jmeta.cagrad(c=0.0), rows), rows.mean(axis=1), rtol=1e-12)


def test_where_gradients_cancel_it_is_the_nearest_to_the_mean_that_conflicts_with_none(x64):
    """Nothing is better than 0 for the worst of two opposite gradients; a third is at right angles."""
    rows = np.array([[[2.0, 0.1, 0.0], [-1.0, -0.05, 0.0], [0.0, 0.0, 3.0]]])
    (found,) = combine_each(jmeta.cagrad(c=0.5, rescale=False), rows)
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0], atol=1e-4)


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match=r"c must not be negative; got -0.1"):
        jmeta.cagrad(c=-0.1)
