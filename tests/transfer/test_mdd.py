"""The margin disparity, in NumPy, and who plays against whom."""

import jax
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import CLASSES, KEY, adapted, data, dense, distance, domain, rows, softmax


def test_the_disparity_is_that_of_the_paper(x64):
    source, target, adversary = rows(6, 4), rows(5, 4, seed=2), rows(4, 3, seed=3)
    outputs, mask = (rows(6, 3, seed=4), rows(5, 3, seed=5)), np.array([True, False, True, True, True])
    on_source, on_target = softmax(source @ adversary), softmax(target @ adversary)
    agreement = -np.log(on_source[np.arange(6), outputs[0].argmax(axis=1)]).mean()
    disagreement = -np.log(1 - on_target[np.arange(5), outputs[1].argmax(axis=1)])[mask].mean()
    given = domain(source, outputs[0]), domain(target, outputs[1], mask)
    found = distance(transfer.mdd(dense(3), margin=2.0), *given, adversary)
    np.testing.assert_allclose(found, 2 * agreement + disagreement, rtol=1e-10)


def test_only_adversary_and_encoder_play(x64):
    given = data()

    def slopes(reversal):
        model = adapted(transfer.mdd(dense(CLASSES), reversal=reversal))
        params = model.init(KEY, given)
        return jax.jit(jax.grad(lambda params: model.objective(params, KEY, given)[0]))(params)

    none, some, against = (slopes(reversal) for reversal in (0.0, 0.5, -1.0))
    np.testing.assert_allclose(some.encoder - none.encoder, -0.5 * (against.encoder - none.encoder), rtol=1e-9)
    assert np.abs(some.encoder - none.encoder).max() > 1e-3
    np.testing.assert_allclose(some.alignment, none.alignment, rtol=1e-12)
    np.testing.assert_allclose(some.head, none.head, rtol=1e-12)


def test_an_adversary_that_is_sure_is_no_trouble():
    """In float32, where ``1 - p`` is 0."""
    target = domain(np.ones((2, 1), np.float32), np.array([[1.0, 0], [1, 0]], np.float32))
    adversary = np.array([[200.0, -200.0]], np.float32)

    def disparity(adversary):
        return transfer.mdd(dense(2)).loss(adversary, KEY, target, target)[0]

    value, slope = jax.jit(jax.value_and_grad(disparity))(adversary)
    np.testing.assert_allclose(value, 400, rtol=1e-6)
    np.testing.assert_allclose(slope, [[1, -1]], rtol=1e-6)


def test_an_adversary_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"adversary must give what the head gives, float32\[6, 3\]; got float32\[6, 2\]"):
        adapted(transfer.mdd(dense(2))).init(KEY, data())
