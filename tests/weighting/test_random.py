"""Random weighting: the distribution of its weights."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jmeta


def test_weights_are_the_softmax_of_independent_standard_normals(x64):
    """Of such, log(w_i / w_j) is normal of variance 2; and with one task absent as without it."""
    weigh = jmeta.random_weighting().weigh
    losses, keys = jnp.ones(3), jax.random.split(jax.random.key(0), 4000)

    @jax.jit
    def draw(keys, present):
        return jax.vmap(lambda key: weigh((), losses, present=present, key=key, pullback=None)[0])(keys)

    weights = np.asarray(draw(keys, jnp.ones(3, bool)))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    logs = np.log(weights)
    for one, other in ((0, 1), (1, 2), (2, 0)):
        # Of a right sampler one in a thousand fails, and this one is always the same.
        assert stats.kstest((logs[:, one] - logs[:, other]) / np.sqrt(2), "norm").pvalue > 1e-3
    # Three independent draws less their mean have a covariance of -1/3.
    covariance = np.cov((logs - logs.mean(axis=1, keepdims=True)).T)
    np.testing.assert_allclose(covariance, np.eye(3) - 1 / 3, atol=0.05)
    absent = np.asarray(draw(keys, jnp.array([False, True, True])))
    assert not absent[:, 0].any()
    np.testing.assert_allclose(absent[:, 1:].sum(axis=1), 1, rtol=1e-12)
