"""The projected mean against another solver, its condition, and a closed form."""

import numpy as np
import pytest

import jmeta
from benchmarks.gradients import dual_projection
from tests.aggregation.hard_cases import CASES, combine_each, distance, rows_of_cases

DUAL = jmeta.dual_projection()


def test_two_tasks_have_a_closed_form(x64):
    """The mean, less what of it is against the one gradient that it conflicts with, the shorter."""
    rows = rows_of_cases(2)
    for found, (first, second) in zip(combine_each(DUAL, rows), rows, strict=True):
        mean = (first + second) / 2
        shorter = min(first, second, key=lambda row: row @ row)
        expected = mean - min(mean @ shorter, 0) * shorter / (shorter @ shorter or 1)
        assert distance(found, expected, np.stack([first, second])) < 1e-9


@pytest.mark.parametrize("tasks", [5, 32])
def test_it_is_an_exact_projection(x64, tasks):
    rows = rows_of_cases(tasks)
    for name, found, of_case in zip(CASES, combine_each(DUAL, rows), rows, strict=True):
        assert distance(found, dual_projection(of_case), of_case) < 1e-7, name


# In float32 a product of two gradients is known to 1e-6 of their lengths, and the result may be a hundredth of what it is made of.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 1e-3)])
def test_it_conflicts_with_no_task(x64, dtype, tolerance):
    rows = rows_of_cases(5)
    for name, found, of_case in zip(CASES, combine_each(DUAL, rows, dtype), rows, strict=True):
        assert np.isfinite(found).all()
        assert (of_case @ found >= -tolerance * np.linalg.norm(of_case, axis=1) * np.linalg.norm(found)).all(), name
