"""The ordinary objective of one network."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, testing, transfer
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


def test_it_is_the_mean_of_what_counts(x64):
    """Masked rows and targets of weight 0, whatever they hold, are as if they were not there."""
    model, data = layer(3), labelled()
    params, objective = model.init(KEY, data.x), transfer.supervised(model, CROSS_ENTROPY)
    weights = jnp.arange(8.0) % 3
    padded = Batch(data.x.at[6:].set(jnp.nan), data.y.at[0].set(-7), jnp.arange(8) < 6, weights)
    (value, metrics), slope = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, KEY, padded)
    logits = np.asarray(data.x @ params["kernel"])[:6]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), data.y[:6]]
    np.testing.assert_allclose(value, np.average(losses, weights=weights[:6]), rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], value)
    assert metrics["present"]
    counted = np.flatnonzero(np.asarray(weights[:6]))
    alone = Batch(data.x[counted], data.y[counted], None, weights[counted])
    chex.assert_trees_all_close(slope, jax.grad(lambda params: objective(params, KEY, alone)[0])(params), rtol=1e-10)


def test_gradients_agree_with_central_differences(x64):
    model, data = layer(3), labelled()
    testing.check_gradient(transfer.supervised(model, CROSS_ENTROPY), model.init(KEY, data.x), KEY, data, tolerance=1e-7)


def test_it_trains_in_training_mode_and_steps():
    seen = []

    def apply(params, x, *, key=None, mask=None):
        seen.append(key is not None)
        return x @ params

    model = jmeta.Model(lambda key, x: jnp.zeros((4, 1)), apply)
    x = rows(4, count=64)
    optimizer = optax.sgd(0.5)
    fitted = jmeta.fit(
        jmeta.make_step(transfer.supervised(model, jmeta.squared_error), optimizer),
        jmeta.init_state(jnp.zeros((4, 1)), optimizer, KEY),
        jmeta.minibatches(x, x @ jnp.arange(4.0)[:, None], 32),
        num_steps=60,
    )
    np.testing.assert_allclose(fitted.state.params[:, 0], np.arange(4.0), atol=1e-3)
    assert all(seen)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="model must be a Model; got str"):
        transfer.supervised("model", CROSS_ENTROPY)
    objective = transfer.supervised(layer(3), CROSS_ENTROPY)
    with pytest.raises(ValueError, match=r"data.x and data.y must have one row per example"):
        objective({}, KEY, Batch(rows(4), jnp.zeros(5, int)))
