"""FairGrad against its equations, another solver and closed forms."""

import numpy as np
import pytest

import jmeta
from benchmarks.gradients import bargain
from tests.aggregation.hard_cases import CASES, combine_each, distance, rows_of_cases

FAIR = jmeta.fairgrad()


def of(alpha):
    return FAIR if alpha == 2 else jmeta.fairgrad(alpha=alpha)


SOLVED = [index for index, name in enumerate(CASES) if name != "two opposite"]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_orthogonal_tasks_have_a_closed_form(x64, alpha):
    """|g|^2 a = a^(-1 / alpha) for each."""
    lengths = np.array([1.0, 10.0, 1e3])
    (found,) = combine_each(of(alpha), np.diag(lengths)[None])
    np.testing.assert_allclose(found, lengths ** (1 - 2 * alpha / (1 + alpha)), rtol=1e-10)


@pytest.mark.parametrize(("tasks", "alpha"), [(5, 2.0), (5, 0.5), (32, 2.0)])
def test_it_is_that_of_an_exact_solver(x64, tasks, alpha):
    rows = rows_of_cases(tasks)[SOLVED]
    for index, found, of_case in zip(SOLVED, combine_each(of(alpha), rows), rows, strict=True):
        assert distance(found, bargain(of_case, alpha), of_case) < 1e-6, CASES[index]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 1e-3)])
def test_the_equations_hold_whatever_the_lengths(x64, dtype, tolerance):
    cases = [CASES.index(name) for name in ("random", "lengths 1 to 1e4", "in conflict")]
    rows = rows_of_cases(5)[cases]
    for found, of_case in zip(combine_each(FAIR, rows, dtype), rows, strict=True):
        lengths = np.linalg.norm(of_case, axis=1)
        weights = np.linalg.lstsq((of_case / lengths[:, None]).T, found, rcond=None)[0] / lengths
        np.testing.assert_allclose(of_case @ found, weights**-0.5, rtol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hard_cases_are_finite_and_one_of_no_gradient_has_no_part(x64, dtype):
    rows = rows_of_cases(5)
    assert np.isfinite(combine_each(FAIR, rows, dtype)).all()
    zero = rows[CASES.index("a zero")]
    whole, others = (combine_each(FAIR, part[None], dtype) for part in (zero, zero[zero.any(axis=1)]))
    np.testing.assert_allclose(whole, others, rtol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_other_exponents_are_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be positive and finite; got"):
        of(alpha)
