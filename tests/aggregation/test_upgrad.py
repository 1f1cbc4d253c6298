"""UPGrad against projections by another solver, its own condition and closed forms."""

import numpy as np
import pytest

import jmeta
from benchmarks.gradients import upgrad
from tests.aggregation.hard_cases import CASES, combine_each, distance, rows_of_cases

UPGRAD = jmeta.upgrad()


def by_hand(first, second):
    """Of two gradients: each loses what is against the other."""
    product = min(first @ second, 0)
    squares = [row @ row for row in (first, second)]
    parts = (first - product * second / (squares[1] or 1), second - product * first / (squares[0] or 1))
    return (parts[0] + parts[1]) / 2


def test_two_tasks_have_a_closed_form(x64):
    rows = rows_of_cases(2)
    for found, of_case in zip(combine_each(UPGRAD, rows), rows, strict=True):
        assert distance(found, by_hand(*of_case), of_case) < 1e-9


@pytest.mark.parametrize("tasks", [5, 32])
def test_it_is_the_mean_of_exact_projections(x64, tasks):
    rows = rows_of_cases(tasks)
    for name, found, of_case in zip(CASES, combine_each(UPGRAD, rows), rows, strict=True):
        # Cosines of 1 - 1e-6 know an angle of 1e-3 to half of the digits.
        assert distance(found, upgrad(of_case), of_case) < 1e-7, name


# In float32 a product of two gradients is known to 1e-6 of their lengths, and the result may be a tenth of what it is made of.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 1e-4)])
def test_it_conflicts_with_no_task(x64, dtype, tolerance):
    rows = rows_of_cases(5)
    for name, found, of_case in zip(CASES, combine_each(UPGRAD, rows, dtype), rows, strict=True):
        assert np.isfinite(found).all()
        assert (of_case @ found >= -tolerance * np.linalg.norm(of_case, axis=1) * np.linalg.norm(found)).all(), name


def test_without_conflict_it_is_the_mean(x64):
    rows = np.abs(rows_of_cases(5))[:1]
    np.testing.assert_allclose(combine_each(UPGRAD, rows), rows.mean(axis=1), rtol=1e-12)


def test_the_mean_is_over_the_tasks_that_are_there(x64):
    """A gradient of zeros counts, an absent task does not."""
    rows = rows_of_cases(3)[[0, 0]] * np.array([1.0, 0.0, 1.0])[:, None]
    with_it, without = combine_each(UPGRAD, rows, present=np.array([[True, True, True], [True, False, True]]))
    np.testing.assert_allclose(without, by_hand(*rows[0, [0, 2]]), rtol=1e-9)
    np.testing.assert_allclose(with_it, without * 2 / 3, rtol=1e-12)
