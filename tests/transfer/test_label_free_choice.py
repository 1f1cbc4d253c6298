"""Choosing without target labels: densities that are known, risks that are known, and the three scores together."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jmeta import Batch, transfer
from tests.transfer.domains import KEY, adapted, data, rows, softmax


def test_importance_weights_are_those_of_scikit_learn_s_logistic_regression():
    source, target, at = rows(40, 3), 0.5 + rows(25, 3, seed=2), rows(7, 3, seed=3)
    both = np.concatenate([source, target])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    fitted = LogisticRegression(C=1 / 0.3, tol=1e-12, max_iter=10_000).fit((both - mean) / deviation, np.repeat([0, 1], [40, 25]))
    odds = np.exp(fitted.decision_function((at - mean) / deviation))
    found = transfer.importance_weights(source, target, at, regularization=0.3)
    np.testing.assert_allclose(found, 40 / 25 * odds, rtol=1e-5)


def test_importance_weights_of_gaussians_are_their_ratio():
    """One moved by m: ``exp(m x - m^2 / 2)``, to within what 20,000 examples say."""
    source, at = rows(20_000, 1), np.array([[-1.0], [0.0], [1.0]])
    found = transfer.importance_weights(source, 0.8 + rows(10_000, 1, seed=2), at)
    np.testing.assert_allclose(found, np.exp(0.8 * at[:, 0] - 0.32), rtol=0.05)


def test_domains_that_are_equal_or_apart_have_finite_weights():
    source = rows(20, 3)
    np.testing.assert_allclose(transfer.importance_weights(source, source), 1, rtol=1e-8)
    apart = transfer.importance_weights(source - 1e3, source + 1e3)
    assert np.isfinite(apart).all()
    assert apart.max() < 0.1
    assert np.isfinite(transfer.importance_weights(np.ones((1, 2)), np.ones((3, 2)))).all()


def test_deep_embedded_validation_is_the_formula_of_the_paper():
    losses, weights = rows(50) ** 2, np.exp(rows(50, seed=2))
    eta = -np.cov(weights * losses, weights)[0, 1] / np.var(weights, ddof=1)
    expected = np.mean(weights * losses) + eta * np.mean(weights) - eta
    np.testing.assert_allclose(transfer.deep_embedded_validation(losses, weights), expected, rtol=1e-10)


def test_deep_embedded_validation_estimates_the_risk_in_the_target():
    """That of x^2 under a Gaussian moved by 0.5 is 1.25, where it is 1 in the source."""
    x = rows(20_000)
    weights = np.exp(0.5 * x - 0.125)
    np.testing.assert_allclose(transfer.deep_embedded_validation(x**2, weights), 1.25, atol=0.04)


def test_what_has_no_risk_is_refused():
    with pytest.raises(ValueError, match=r"losses and weights must be one each per example, \[n\]; got \(2,\) and \(3,\)"):
        transfer.deep_embedded_validation([0, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="weights must be finite; got 1 values"):
        transfer.deep_embedded_validation([0, 1], [1, np.inf])
    with pytest.raises(ValueError, match=r"weights must be at least 0; got -1\.0"):
        transfer.deep_embedded_validation([0, 1], [1, -1])
    with pytest.raises(ValueError, match="source and target must have as many features; got 3 and 2"):
        transfer.importance_weights(rows(4, 3), rows(4, 2))


def test_the_three_scores_are_those_of_their_parts(x64):
    model, given = adapted(transfer.coral()), data(9, 7)
    params = model.init(KEY, given)
    held_out = Batch(jnp.asarray(rows(5, 2, seed=8)), jnp.arange(5) % 3)
    found = transfer.label_free_scores(model, params, given | {"validation": held_out}, batch_size=4)
    encoded = {name: np.tanh(batch.x @ params.encoder) for name, batch in (given | {"validation": held_out}).items()}
    guesses = {name: softmax(features @ params.head) for name, features in encoded.items()}
    losses = -np.log(guesses["validation"][np.arange(5), held_out.y])
    weights = transfer.importance_weights(encoded["source"], encoded["target"], encoded["validation"])
    expected = (
        losses.mean(),
        transfer.deep_embedded_validation(losses, weights),
        -(guesses["target"] * np.log(guesses["target"])).sum(axis=1).mean(),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_data_without_a_validation_is_refused():
    model, given = adapted(transfer.coral()), data()
    with pytest.raises(ValueError, match=r"data must hold batches without a mask by the names .*; got"):
        transfer.label_free_scores(model, model.init(KEY, given), given)
