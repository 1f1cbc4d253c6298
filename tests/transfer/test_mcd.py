"""Two heads: their discrepancy in NumPy, and who draws it together and who apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import CLASSES, CROSS_ENTROPY, KEY, adapted, data, dense, softmax


def parts(params, given):
    source, target = (np.tanh(given[name].x @ params.encoder) for name in ("source", "target"))
    first, second = (softmax(target @ head) for head in (params.head, params.alignment))
    return source, np.abs(first - second).mean()


def test_the_objective_is_both_heads_on_the_source_less_their_discrepancy_on_the_target(x64):
    given, model = data(), adapted(transfer.mcd(dense(CLASSES), strength=0.3))
    params = model.init(KEY, given)
    assert not np.allclose(params.head, params.alignment)
    source, apart = parts(params, given)
    losses = [CROSS_ENTROPY(source @ head, given["source"].y).mean() for head in (params.head, params.alignment)]
    value, metrics = jax.jit(model.objective)(params, KEY, given)
    np.testing.assert_allclose(value, sum(losses) - 0.3 * apart, rtol=1e-10)
    np.testing.assert_allclose(metrics["alignment/distance"], apart, rtol=1e-10)


def test_a_step_of_the_heads_widens_the_discrepancy_and_one_of_the_encoder_closes_it(x64):
    given = data()
    model = adapted(transfer.mcd(dense(CLASSES), loss_fn=lambda outputs, targets: 0 * outputs[:, 0], reversal=0.5))
    params = model.init(KEY, given)

    def apart(params):
        return model.objective(params, KEY, given)[1]["alignment/distance"]

    slope = jax.jit(jax.grad(lambda params: model.objective(params, KEY, given)[0]))(params)
    source = jax.jit(jax.grad(lambda params: model.objective(params, KEY, given)[1]["source_loss"]))(params)
    # That of the discrepancy itself, without a reversal.
    undone = adapted(transfer.mcd(dense(CLASSES), reversal=-1.0))
    plain = jax.jit(jax.grad(lambda params: undone.objective(params, KEY, given)[1]["alignment/distance"]))(params)
    np.testing.assert_allclose(slope.alignment, -plain.alignment, rtol=1e-9)
    np.testing.assert_allclose(slope.head - source.head, -plain.head, rtol=1e-9)
    np.testing.assert_allclose(slope.encoder - source.encoder, 0.5 * plain.encoder, rtol=1e-9)
    assert jnp.abs(plain.encoder).max() > 1e-3
    assert apart(params) > 0


def test_a_second_head_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"second_head must give what the head gives, float32\[6, 3\]; got float32\[6, 2\]"):
        adapted(transfer.mcd(dense(2))).init(KEY, data())
