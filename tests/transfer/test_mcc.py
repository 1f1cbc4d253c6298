"""Class confusion, by the formulas of the paper in NumPy."""

import jax
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import distance, domain, rows, softmax


@pytest.mark.parametrize("mask", [None, np.array([True, False, True, True, True])])
def test_the_confusion_is_that_of_the_paper(x64, mask):
    outputs = rows(5, 3, scale=4.0)
    real = outputs if mask is None else outputs[mask]
    guesses = softmax(real / 2.0)
    weights = 1 + np.exp((guesses * np.log(guesses)).sum(axis=1))
    weights = len(real) * weights / weights.sum()
    confusion = guesses.T @ np.diag(weights) @ guesses
    confusion /= confusion.sum(axis=1, keepdims=True)
    expected = (confusion.sum() - np.trace(confusion)) / 3
    target = domain(rows(5, 2), outputs, mask)
    found = distance(transfer.mcc(temperature=2.0), domain(rows(6, 2)), target)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_class_that_nothing_is_taken_for_is_no_trouble():
    """In float32, where its share is 0."""
    outputs = np.array([[400.0, 0, -900], [0, 400, -900], [300, 0, -900]], np.float32)

    def confusion(outputs):
        given = domain(rows(3, 2), outputs)
        return transfer.mcc().loss((), None, given, given)[0]

    value, slope = jax.jit(jax.value_and_grad(confusion))(outputs)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be positive; got -1"):
        transfer.mcc(temperature=-1)
