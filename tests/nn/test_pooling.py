"""Pooling against flax's own."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from jmeta.nn import avg_pool, conv_general_dilated, max_pool

pytestmark = pytest.mark.usefixtures("usual_compilation")
POOLINGS = [
    ((2, 7, 6, 3), (2, 2), (2, 2), "VALID"),
    ((2, 7, 6, 3), (3, 2), (2, 1), "SAME"),
    ((2, 5, 5, 1), (3, 3), None, "VALID"),
    ((1, 4, 4, 2), (2, 2), (2, 2), ((1, 0), (0, 1))),
    ((2, 9, 3), (2,), (2,), "VALID"),
]
AVERAGES = [avg_pool, functools.partial(avg_pool, count_include_pad=False)]
THEIR_AVERAGES = [linen.avg_pool, functools.partial(linen.avg_pool, count_include_pad=False)]


@pytest.mark.parametrize(("ours", "theirs"), [(max_pool, linen.max_pool), *zip(AVERAGES, THEIR_AVERAGES, strict=True)])
@pytest.mark.parametrize("case", POOLINGS)
def test_pooling_is_flaxs(x64, case, ours, theirs):
    shape, *options = case
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))

    def both(pool):
        # Distinct values: no ties, where the two may share the gradient differently.
        return pool(x, *options), jax.grad(lambda x: jnp.sin(pool(x, *options)).sum())(x)

    for one, other in zip(both(ours), both(theirs), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


# Windows that overlap, and windows side by side with a column left over.
@pytest.mark.parametrize("size", [(3, 2), (2, 2)])
@pytest.mark.parametrize("pool", [max_pool, *AVERAGES])
def test_second_derivatives_of_pooling_are_those_of_a_loop_over_windows(x64, pool, size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 5, 2)))
    window = jnp.max if pool is max_pool else jnp.mean

    def looped(x):
        rows = [[window(x[:, i : i + size[0], j : j + size[1]], axis=(1, 2)) for j in (0, 2)] for i in (0, 2, 4)]
        return jnp.stack([jnp.stack(row, 1) for row in rows], 1)

    def products(pooled):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(pooled(x)) ** 2))
        return jax.jvp(gradient, (x,), (x,))[1], jax.vjp(gradient, x)[1](x)[0]

    expected, _ = products(looped)
    for product in products(lambda x: pool(x, size, (2, 2))):
        np.testing.assert_allclose(product, expected, rtol=1e-10, atol=1e-10)


def test_a_compiled_stack_of_blocks_loses_no_gradient_at_the_maximum():
    # The derivative of jnp.maximum compares with the result; fused and rounded anew, it lost 1 % here and half in deeper networks.
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(12, 7, 7, 16)), jnp.float32)
    weights, scale = jnp.asarray(0.1 * random.normal(size=(3, 3, 16, 16)), jnp.float32), jnp.asarray(random.random(16), jnp.float32)

    # The suite compiles without the emitters of fused loops, users with them.
    options = {"xla_cpu_use_fusion_emitters": True} if "fusion_emitters" in os.environ.get("XLA_FLAGS", "") else None

    def gradient(pool):
        def block(x, weights):
            x = conv_general_dilated(x, weights, (1, 1), "SAME")
            x = x - x.mean((0, 1, 2), keepdims=True)
            x = x * (lax.rsqrt(jnp.square(x).mean((0, 1, 2), keepdims=True) + 1e-5) * scale[None, None, None])
            return pool(linen.relu(x + 0.3 * scale[None, None, None]), (2, 2), (2, 2))

        differentiate = jax.grad(lambda weights: jnp.sum(block(block(x, weights), weights) ** 3))
        return jax.jit(differentiate, compiler_options=options)(weights)

    expected = gradient(linen.max_pool)
    # Sums over some thousand float32 products.
    np.testing.assert_allclose(gradient(max_pool), expected, atol=1e-4 * float(jnp.abs(expected).max()))


def test_pooling_keeps_a_nan():
    x = jnp.zeros((1, 2, 4, 1)).at[0, 0, 1, 0].set(jnp.nan).at[0, 1, 2, 0].set(jnp.nan)
    assert np.isnan(max_pool(x, (2, 2), (2, 2))).all()


def test_bfloat16_is_pooled_as_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 2)), jnp.bfloat16)
    for ours, theirs in ((max_pool, linen.max_pool), (avg_pool, linen.avg_pool)):
        pooled = ours(x, (2, 2), (2, 2))
        assert pooled.dtype == jnp.bfloat16
        # Four values of order one with 8 bits each.
        np.testing.assert_allclose(pooled.astype(jnp.float32), theirs(x.astype(jnp.float32), (2, 2), (2, 2)), rtol=0.02, atol=0.02)


def test_pooling_keeps_integers_and_infinities():
    x = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x, (2, 2), (2, 2)), linen.max_pool(x, (2, 2), (2, 2)))
    np.testing.assert_array_equal(max_pool(x, (3, 3), (1, 1), "SAME"), linen.max_pool(x.astype(float), (3, 3), (1, 1), "SAME"))
    lowest = jnp.full((1, 2, 2, 1), -jnp.inf)
    assert float(max_pool(lowest, (2, 2))[0, 0, 0, 0]) == -np.inf
