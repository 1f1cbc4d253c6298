"""Aligned gradients against the singular value decomposition of the gradients themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta

SCALES = {"min": lambda squares: squares[-1], "median": lambda squares: squares[len(squares) // 2], "rmse": np.mean}


def combine(aggregator, rows, tasks=None):
    rows = jnp.asarray(rows)
    known = {"losses": jnp.ones(len(rows)), "present": jnp.ones(len(rows), bool), "key": None}
    return np.asarray(jax.jit(aggregator.combine)(rows, aggregator.init(tasks or len(rows)), **known)[0])


def aligned(rows, scale, rank):
    """The gradients ``[tasks, n]`` with singular values that are all the same."""
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    # In descending order; of an even number the median is the lower one.
    return np.sqrt(SCALES[scale](values[:rank] ** 2)) * left[:, :rank] @ right[:rank]


@pytest.mark.parametrize("scale", SCALES)
def test_it_is_the_polar_factor_of_the_gradients(x64, scale):
    rows = np.random.default_rng(0).normal(size=(6, 20))
    expected = aligned(rows, scale, 6)
    np.testing.assert_allclose(np.diag(expected @ expected.T), (expected @ expected.T)[0, 0], rtol=1e-12)
    np.testing.assert_allclose(combine(jmeta.aligned_mtl(scale=scale), rows), expected.sum(axis=0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        combine(jmeta.aligned_mtl(scale=scale, preference=1 / 6), rows), expected.mean(axis=0), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("scale", SCALES)
def test_components_that_vanish_are_left_out(x64, scale):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(5, 3)) @ generator.normal(size=(3, 20))
    np.testing.assert_allclose(combine(jmeta.aligned_mtl(scale=scale), rows), aligned(rows, scale, 3).sum(axis=0), rtol=1e-8)


def test_preferences_have_names(x64):
    rows = np.random.default_rng(0).normal(size=(2, 5))
    aggregator = jmeta.aligned_mtl(preference={"pose": 2.0})
    expected = np.array([1.0, 2.0]) @ aligned(rows, "min", 2)
    np.testing.assert_allclose(combine(aggregator, rows, ["kind", "pose"]), expected, rtol=1e-10)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be one of min, median, rmse; got 'max'"):
        jmeta.aligned_mtl(scale="max")
