"""Sums over all pairs of rows, in a loop, of the product of two kernels."""

import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import distance, domain, rows, softmax
from tests.transfer.test_mmd import WIDTHS, kernel_of, naive


def test_the_distance_is_that_of_a_loop_over_pairs(x64):
    features, outputs = (rows(7, 3), 1 + rows(5, 3, seed=2)), (rows(7, 4, seed=3), rows(5, 4, seed=4))
    of_features = kernel_of(np.concatenate(features), WIDTHS)

    def kernel(one, other):
        guesses = softmax(one[3:]) - softmax(other[3:])
        return of_features(one[:3], other[:3]) * np.exp(-(guesses**2).sum() / (2 * 0.7**2))

    expected = naive(*(np.concatenate(both, axis=1) for both in zip(features, outputs, strict=True)), kernel)
    alignment = transfer.joint_mmd(widths=WIDTHS, output_width=0.7)
    found = distance(alignment, *(domain(*both) for both in zip(features, outputs, strict=True)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_width_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="output_width must be positive; got 0"):
        transfer.joint_mmd(output_width=0)
