"""The distance of two covariances, by NumPy."""

import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import distance, domain, rows


@pytest.mark.parametrize("mask", [None, np.array([True, False, True, True, True])])
def test_the_distance_is_that_of_numpy_s_covariances(x64, mask):
    source, target = rows(7, 3), rows(5, 3, seed=2, scale=3.0)
    real = target if mask is None else target[mask]
    expected = ((np.cov(source.T) - np.cov(real.T)) ** 2).sum() / (4 * 9)
    found = distance(transfer.coral(strength=0.5), domain(source), domain(target, mask=mask))
    np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-10)


def test_images_of_features_are_flattened_and_one_row_has_no_covariance(x64):
    source, target = rows(7, 3, 2), rows(1, 3, 2, seed=2)
    expected = (np.cov(source.reshape(7, 6).T) ** 2).sum() / (4 * 36)
    np.testing.assert_allclose(distance(transfer.coral(), domain(source), domain(target)), expected, rtol=1e-10)


def test_the_strength_may_be_a_schedule(x64):
    given = domain(rows(7, 3)), domain(rows(5, 3, seed=2, scale=3.0))
    whole, half = (distance(transfer.coral(strength=strength), *given, step=5) for strength in (1.0, lambda step: step / 10))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-12)
