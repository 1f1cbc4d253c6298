"""Adapting to a shifted domain without labels or source."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, transfer
from tests.transfer.domains import KEY, dense, rows, softmax


def test_the_objective_is_the_mean_entropy_of_the_real_rows_and_no_target_is_seen(x64):
    x, weights, mask = rows(5, 2), rows(2, 3, seed=2), np.array([True, False, True, True, True])
    guesses = softmax(x @ weights)[mask]
    batch = Batch(jnp.asarray(x).at[1].set(jnp.nan), jnp.full(5, jnp.nan), mask)
    value, metrics = jax.jit(transfer.tent(dense(3)))(jnp.asarray(weights), KEY, batch)
    np.testing.assert_allclose(value, -(guesses * np.log(guesses)).sum(axis=1).mean(), rtol=1e-10)
    assert metrics["present"]


class Normalised(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(jmeta.nn.BatchStatistics()(x))


def test_steps_on_scales_and_offsets_lower_the_entropy_and_leave_the_rest():
    model = jmeta.from_linen(Normalised())
    batch = Batch(jnp.asarray(rows(20, 2), jnp.float32), None)
    params = model.init(KEY, batch.x)
    optimizer = jmeta.trainable(optax.adam(0.1), lambda path: "BatchStatistics" in path)
    step, state = jax.jit(jmeta.make_step(transfer.tent(model), optimizer)), jmeta.init_state(params, optimizer, KEY)
    for _ in range(20):
        state, _ = step(state, batch)
    before, after = (transfer.tent(model)(weights, KEY, batch)[0] for weights in (params, state.params))
    assert after < 0.9 * before
    chex.assert_trees_all_equal(state.params["Dense_0"], params["Dense_0"])


def test_a_model_without_logits_is_refused():
    with pytest.raises(ValueError, match="model must be a Model; got function"):
        transfer.tent(lambda x: x)
    with pytest.raises(ValueError, match="outputs must be logits"):
        transfer.tent(dense(1))(jnp.ones((2, 1)), KEY, Batch(jnp.ones((3, 2)), None))
