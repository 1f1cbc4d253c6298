"""The game against a discriminator: its loss in NumPy, and who descends and who ascends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import CLASSES, KEY, adapted, data, dense, distance, domain, rows


def logistic(logits):
    return np.log1p(np.exp(-logits))


def test_the_loss_is_the_cross_entropy_of_the_domains_each_counting_half(x64):
    source, target, weights = rows(7, 3), rows(4, 3, seed=2), rows(3, 1, seed=3)
    mask = np.array([True, True, False, True])
    expected = (logistic(source @ weights).mean() + logistic(-target[mask] @ weights).mean()) / 2
    alignment = transfer.dann(dense(1), strength=0.3)
    found = distance(alignment, domain(source), domain(target, mask=mask), jnp.asarray(weights))
    np.testing.assert_allclose(found, 0.3 * expected, rtol=1e-10)
    accuracy = ((source @ weights > 0).mean() + (target[mask] @ weights <= 0).mean()) / 2
    _, metrics = alignment.loss(jnp.asarray(weights), KEY, domain(source), domain(target, mask=mask))
    np.testing.assert_allclose(metrics["domain_accuracy"], accuracy, rtol=1e-12)


def test_the_encoder_ascends_by_the_reversal_what_the_discriminator_descends(x64):
    given = data()

    def slopes(reversal):
        model = adapted(transfer.dann(dense(1), reversal=reversal))
        params = model.init(KEY, given)
        return jax.jit(jax.grad(lambda params: model.objective(params, KEY, given, step=jnp.array(3))[0]))(params)

    none, half = slopes(lambda step: 0.0 * step), slopes(lambda step: step / 6)
    against = slopes(-1.0)
    # Without reversal the encoder would help the discriminator, here that is -1.
    np.testing.assert_allclose(half.encoder - none.encoder, -0.5 * (against.encoder - none.encoder), rtol=1e-9)
    assert jnp.abs(half.encoder - none.encoder).max() > 1e-3
    np.testing.assert_allclose(half.alignment, none.alignment, rtol=1e-12)


def test_a_discriminator_that_is_none_is_refused():
    with pytest.raises(ValueError, match="discriminator must be a Model; got function"):
        transfer.dann(lambda x: x)
    with pytest.raises(
        ValueError, match=r"discriminator must give one logit per row, \[n\] or \[n, 1\]; got float32\[6, 2\] for 6 rows"
    ):
        adapted(transfer.dann(dense(2))).init(KEY, data())
    assert CLASSES > 2
