"""The game against a discriminator of products, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import KEY, adapted, data, dense, distance, domain, rows, softmax
from tests.transfer.test_dann import logistic


@pytest.mark.parametrize("entropy", [True, False])
def test_the_loss_is_that_of_products_weighted_by_how_sure_the_head_is(x64, entropy):
    features, outputs = (rows(7, 3), rows(4, 3, seed=2)), (rows(7, 2, seed=3, scale=3.0), rows(4, 2, seed=4))
    weights, mask = rows(6, 1, seed=5), np.array([True, True, False, True])
    sides = []
    for sign, seen, said, real in zip((1, -1), features, outputs, (np.ones(7, bool), mask), strict=True):
        guesses = softmax(said)
        products = np.stack([np.outer(guess, row).ravel() for guess, row in zip(guesses, seen, strict=True)])
        sure = 1 + np.exp((guesses * np.log(guesses)).sum(axis=1)) if entropy else np.ones(len(seen))
        sides.append(np.average(logistic(sign * products @ weights)[real, 0], weights=sure[real]))
    alignment = transfer.cdan(dense(1), entropy=entropy)
    found = distance(alignment, domain(features[0], outputs[0]), domain(features[1], outputs[1], mask), jnp.asarray(weights))
    np.testing.assert_allclose(found, np.mean(sides), rtol=1e-10)


def test_the_head_is_not_drawn_into_the_game(x64):
    given, model = data(), adapted(transfer.cdan(dense(1)))
    params = model.init(KEY, given)
    found, metrics = jax.jit(jax.grad(model.objective, has_aux=True))(params, KEY, given)
    alone = jax.jit(jax.grad(adapted(transfer.coral(strength=0.0)).objective, has_aux=True))(
        params._replace(alignment=()), KEY, given
    )[0]
    np.testing.assert_allclose(found.head, alone.head, rtol=1e-10)
    assert jnp.abs(found.encoder - alone.encoder).max() > 1e-4
    assert 0 <= metrics["alignment/domain_accuracy"] <= 1
