"""The Fisher information of a small network, in closed form and in a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import EncoderHead, transfer
from tests.transfer.domains import KEY, dense, rows, softmax

MODEL = EncoderHead(dense(4), dense(2))


def parameters():
    return EncoderHead(jnp.asarray(rows(3, 4)), jnp.asarray(rows(4, 2, seed=2)))


def test_the_embedding_is_the_mean_square_of_gradients_of_drawn_labels(x64):
    params, x = parameters(), rows(400, 3, seed=3)
    found = transfer.task2vec(MODEL, params, jnp.asarray(x), KEY, batch_size=64)
    # Over labels: of two classes and a linear encoder, x_i (v_j1 - v_j0) (y - p).
    guesses = softmax(x @ params.encoder @ params.head)
    spread, apart = guesses[:, 0] * guesses[:, 1], np.asarray(params.head[:, 1] - params.head[:, 0])
    expected = (spread[:, None] * x**2).mean(axis=0).mean() * apart**2
    np.testing.assert_allclose(found / apart**2, found[0] / apart[0] ** 2, rtol=1e-8)
    # A Monte Carlo estimate of 400 labels.
    np.testing.assert_allclose(found, expected, rtol=0.15)
    draws = np.mean([transfer.task2vec(MODEL, params, jnp.asarray(x), jax.random.key(seed)) for seed in range(12)], axis=0)
    np.testing.assert_allclose(draws, expected, rtol=0.04)


def test_the_distance_is_that_of_the_paper():
    one, other = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 0.0])
    first, second = one[:2] / (one + other)[:2], other[:2] / (one + other)[:2]
    expected = 1 - first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    np.testing.assert_allclose(transfer.task2vec_distance(one, other), expected, rtol=1e-10)
    np.testing.assert_allclose(transfer.task2vec_distance(one, one), 0, atol=1e-12)
    assert transfer.task2vec_distance(0 * one, 0 * one) == 0
    assert transfer.task2vec_distance(0 * one, one) == 1


def test_what_has_no_embedding_is_refused():
    params = parameters()
    with pytest.raises(ValueError, match=r"params.encoder must hold a leaf of two axes or more; got none"):
        transfer.task2vec(MODEL, params._replace(encoder=jnp.ones(3)), rows(4, 3), KEY)
    with pytest.raises(ValueError, match="model must be an EncoderHead"):
        transfer.task2vec(dense(3), params, rows(4, 3), KEY)
    with pytest.raises(ValueError, match=r"embeddings must be vectors of one length; got shapes \(2,\) and \(3,\)"):
        transfer.task2vec_distance(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="embeddings must be at least 0; got -1"):
        transfer.task2vec_distance([-1, 1], [1, 1])
