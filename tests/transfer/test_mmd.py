"""Sums over all pairs of rows, in a loop; and a kernel whose means are known."""

import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import distance, domain, rows

WIDTHS = (0.5, 2.0)


def kernel_of(pooled, widths):
    """The kernel of two rows, its width that of all pairs of the pooled ones."""
    mean = np.mean([((one - other) ** 2).sum() for one in pooled for other in pooled])
    return lambda one, other: sum(np.exp(-((one - other) ** 2).sum() / (2 * width * mean)) for width in widths)


def naive(source, target, kernel):
    def mean(one, other):
        return np.mean([kernel(*pair) for pair in ((a, b) for a in one for b in other)])

    return mean(source, source) + mean(target, target) - 2 * mean(source, target)


@pytest.mark.parametrize("mask", [None, np.array([True, False, True, True, True])])
def test_the_distance_is_that_of_a_loop_over_pairs(x64, mask):
    source, target = rows(7, 3), 1 + rows(5, 3, seed=2)
    real = target if mask is None else target[mask]
    expected = naive(source, real, kernel_of(np.concatenate([source, real]), WIDTHS))
    found = distance(transfer.mmd(widths=WIDTHS), domain(source), domain(target, mask=mask))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_equal_domains_are_no_distance_apart_and_all_rows_alike_are_no_trouble(x64):
    given = domain(rows(7, 3))
    np.testing.assert_allclose(distance(transfer.mmd(), given, given), 0, atol=1e-14)
    assert distance(transfer.mmd(), domain(np.ones((4, 3))), domain(np.ones((2, 3)))) == 0


def test_two_rows_have_a_closed_form(x64):
    """Their mean squared distance is half their own: ``2 sum_u 1 - exp(-1 / u)``."""
    found = distance(transfer.mmd(widths=WIDTHS), domain(rows(1, 3)), domain(rows(1, 3, seed=2)))
    np.testing.assert_allclose(found, 2 * sum(1 - np.exp(-1 / width) for width in WIDTHS), rtol=1e-12)


def test_widths_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"widths must hold the width of at least one kernel; got none"):
        transfer.mmd(widths=())
    with pytest.raises(ValueError, match=r"widths\[1\] must be positive; got 0"):
        transfer.mmd(widths=(1.0, 0))
