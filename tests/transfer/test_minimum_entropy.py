"""The entropy of what the head says, by NumPy."""

import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.domains import distance, domain, rows, softmax


def test_the_entropy_is_that_of_numpy(x64):
    outputs, mask = rows(5, 3, scale=2.0), np.array([True, False, True, True, True])
    guesses = softmax(outputs)[mask]
    expected = -(guesses * np.log(guesses)).sum(axis=1).mean()
    found = distance(transfer.minimum_entropy(strength=0.1), domain(rows(6, 2)), domain(rows(5, 2), outputs, mask))
    np.testing.assert_allclose(found, 0.1 * expected, rtol=1e-10)


def test_outputs_that_are_no_logits_are_refused():
    given = domain(rows(6, 2)), domain(rows(5, 2), np.zeros((5, 1), np.float32))
    with pytest.raises(
        ValueError, match=r"outputs must be logits \[n, classes\] of at least 2 classes for this alignment; got float"
    ):
        transfer.minimum_entropy().loss((), None, *given)
