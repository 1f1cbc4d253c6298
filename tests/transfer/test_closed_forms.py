"""Closed forms of domain adaptation against the formulas of the papers, written with other decompositions."""

import numpy as np
import pytest
import scipy.linalg

from jmeta import transfer
from tests.transfer.domains import rows

METHODS = {
    "correlation_alignment": transfer.correlation_alignment,
    "subspace_alignment": lambda source, target: transfer.subspace_alignment(source, target, components=2),
    "transfer_component_analysis": lambda source, target: transfer.transfer_component_analysis(source, target, components=2),
    "geodesic_flow_kernel": lambda source, target: transfer.geodesic_flow_kernel(source, target, components=2),
}
MIX = rows(5, 5, seed=7)


def domains():
    return rows(9, 5) @ MIX, 0.5 + rows(7, 5, seed=2)


def directions(x, components):
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return vectors[:, np.argsort(-values)[:components]]


def products(source, target):
    """What no choice of signs changes."""
    both = np.concatenate([source, target])
    return both @ both.T


def test_correlation_alignment_recolours_the_source():
    source, target = domains()
    one, other = (np.cov(x.T) + 0.3 * np.eye(5) for x in (source, target))
    expected = source @ scipy.linalg.inv(scipy.linalg.sqrtm(one)) @ scipy.linalg.sqrtm(other)
    found = transfer.correlation_alignment(source, target, regularization=0.3)
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found[1], target)
    # Next to nothing added, its covariance is that of the target.
    found = transfer.correlation_alignment(source, target, regularization=1e-12)
    np.testing.assert_allclose(np.cov(found[0].T), np.cov(target.T), rtol=1e-8, atol=1e-8)


def test_subspace_alignment_turns_the_directions_of_the_source():
    source, target = domains()
    one, other = directions(source, 3), directions(target, 3)
    expected = products((source - source.mean(axis=0)) @ one @ one.T @ other, (target - target.mean(axis=0)) @ other)
    np.testing.assert_allclose(
        products(*transfer.subspace_alignment(source, target, components=3)), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_transfer_components_solve_the_generalised_eigenproblem(kernel):
    source, target = domains()
    x = np.concatenate([source, target])
    kernels = {
        "linear": lambda x, y: x @ y.T,
        "gaussian": lambda x, y: np.exp(-((x[:, None] - y[None]) ** 2).sum(axis=-1) / 10),
    }
    gram, sides = kernels[kernel](x, x), np.repeat([1 / 9, -1 / 7], [9, 7])
    between, centre = np.outer(sides, sides), np.eye(16) - 1 / 16
    values, vectors = scipy.linalg.eigh(gram @ centre @ gram, gram @ between @ gram + 0.5 * np.eye(16))
    weights = vectors[:, np.argsort(-values)[:3]] / np.sqrt(np.sort(values)[::-1][:3])
    found = transfer.transfer_component_analysis(source, target, components=3, kernel=kernels[kernel], regularization=0.5)
    np.testing.assert_allclose(products(*found), products(*np.split(centre @ gram @ weights, [9])), rtol=1e-10, atol=1e-10)


def test_transfer_components_beyond_the_rank_are_0():
    source, target = domains()
    found = np.concatenate(transfer.transfer_component_analysis(source, target, components=8))
    assert (np.abs(found[:, :5]).max(axis=0) > 1e-3).all()
    assert not found[:, 5:].any()


def test_the_geodesic_flow_kernel_is_the_integral_over_the_geodesic():
    """By Gauss-Legendre quadrature, of subspaces along the geodesic through the matrix exponential."""
    source, target = domains()
    one, other = directions(source, 2), directions(target, 2)
    beyond = scipy.linalg.null_space(one.T)
    # The way from one subspace to the other is exp(t A) of a skew matrix in the basis of the first.
    tangent = beyond.T @ other @ np.linalg.inv(one.T @ other)
    left, tangents, right = np.linalg.svd(tangent, full_matrices=False)
    slope = left @ np.diag(np.arctan(tangents)) @ right
    skew = np.block([[np.zeros((2, 2)), -slope.T], [slope, np.zeros((3, 3))]])
    basis, kernel = np.concatenate([one, beyond], axis=1), np.zeros((5, 5))
    for node, weight in zip(*np.polynomial.legendre.leggauss(20), strict=True):
        along = basis @ scipy.linalg.expm((node + 1) / 2 * skew)[:, :2]
        kernel += weight / 2 * along @ along.T
    end = basis @ scipy.linalg.expm(skew)[:, :2]
    np.testing.assert_allclose(end @ end.T, other @ other.T, atol=1e-10)
    x = np.concatenate([source, target])
    found = products(*transfer.geodesic_flow_kernel(source, target, components=2))
    np.testing.assert_allclose(found, x @ kernel @ x.T, rtol=1e-10, atol=1e-10)


def test_equal_domains_have_no_way_between_them():
    """The kernel is then the projection on the directions."""
    source, _ = domains()
    along = directions(source, 2)
    found = products(*transfer.geodesic_flow_kernel(source, source, components=2))
    np.testing.assert_allclose(found, products(source @ along, source @ along), rtol=1e-10, atol=1e-10)
    aligned = transfer.correlation_alignment(source, source)[0]
    np.testing.assert_allclose(aligned, source, rtol=1e-10)
    one, other = transfer.subspace_alignment(source, source, components=2)
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", ["disjoint", "one row", "alike"])
def test_nothing_is_nan(name, case):
    source, target = domains()
    given = {
        "disjoint": (source - 1e3, target + 1e3),
        "one row": (source[:1], target),
        "alike": (np.ones((4, 5)), np.ones((3, 5))),
    }[case]
    found = METHODS[name](*given)
    assert [len(side) for side in found] == [len(side) for side in given]
    for side in found:
        assert np.isfinite(side).all()


@pytest.mark.parametrize("name", METHODS)
def test_what_are_no_features_of_one_width_is_refused(name):
    source, target = domains()
    for given, message in (
        ((source, target[:, :4]), "source and target must have as many features; got 5 and 4"),
        ((source[0], target), r"source must hold features \[n, d\] of at least one row; got shape \(5,\)"),
        ((source, target * np.nan), "target must be finite; got 35 values that are NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            METHODS[name](*given)


def test_options_that_do_not_fit_are_refused():
    source, target = domains()
    with pytest.raises(ValueError, match="components must be at most the number of features; got components=6 and 5"):
        transfer.subspace_alignment(source, target, components=6)
    with pytest.raises(ValueError, match="components must be at most half the number of features; got components=3 and 5"):
        transfer.geodesic_flow_kernel(source, target, components=3)
    with pytest.raises(ValueError, match="components must be at most the number of rows; got components=17 and 16"):
        transfer.transfer_component_analysis(source, target, components=17)
    with pytest.raises(ValueError, match=r"kernel must give one value for each pair of rows, \(16, 16\); got shape \(16,\)"):
        transfer.transfer_component_analysis(source, target, components=2, kernel=lambda x, y: x[:, 0])
    with pytest.raises(ValueError, match="regularization must be positive; got 0"):
        transfer.correlation_alignment(source, target, regularization=0)
