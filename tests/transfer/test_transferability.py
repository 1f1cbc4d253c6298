"""Scores of sources against the formulas of the papers and of the authors' code, written naively."""

import numpy as np
import pytest
import scipy.stats

from jmeta import transfer
from tests.transfer.domains import rows, softmax

LABELS = np.arange(30) % 3


def features(width=5, seed=1):
    """That tell something of the labels."""
    return rows(30, width, seed=seed) + np.eye(3)[LABELS] @ rows(3, width, seed=9)


def evidence(squares, right, answer, rows_of, width):
    """Of one target, with all eigenvalues; the authors' loop, on the eigenvectors of ``F^T F``."""
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        mean = right @ np.diag(beta / (alpha + beta * squares)) @ right.T @ rows_of.T @ answer
        effective = (squares / (squares + ratio)).sum()
        weights, residual = mean @ mean, ((answer - rows_of @ mean) ** 2).sum()
        alpha, beta = effective / (weights + 1e-5), (len(answer) - effective) / (residual + 1e-5)
        if abs(alpha / beta - ratio) / ratio <= 1e-3:
            break
    sum_of_logs = np.log(alpha + beta * squares).sum()
    value = width / 2 * np.log(alpha) + len(answer) / 2 * np.log(beta) - sum_of_logs / 2 - beta / 2 * residual - alpha / 2 * weights
    return (value - len(answer) / 2 * np.log(2 * np.pi)) / len(answer), alpha, beta


def all_evidence(rows_of, answers):
    squares, right = np.linalg.eigh(rows_of.T @ rows_of)
    return [evidence(np.maximum(squares, 0), right, answer, rows_of, rows_of.shape[1]) for answer in answers.T]


@pytest.mark.parametrize("width", [5, 40])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_logme_is_the_authors_loop_with_all_eigenvalues(width, kind):
    """With more features than examples as well, where the authors' faster code leaves eigenvalues of 0 out."""
    targets = LABELS if kind == "labels" else rows(30, 2, seed=4)
    answers = np.eye(3)[LABELS] if kind == "labels" else targets
    expected = np.mean([value for value, *_ in all_evidence(features(width), answers)])
    np.testing.assert_allclose(transfer.logme(features(width), targets), expected, rtol=1e-8)


def test_logme_is_the_log_density_of_a_gaussian():
    """Where the loop ends; what it stops at is within 1e-3 of the best ratio, and the evidence is flat there."""
    x, answer = features(), rows(30, seed=4)
    _, alpha, beta = all_evidence(x, answer[:, None])[0]
    density = scipy.stats.multivariate_normal(np.zeros(30), np.eye(30) / beta + x @ x.T / alpha).logpdf(answer)
    np.testing.assert_allclose(transfer.logme(x, answer), density / 30, atol=1e-4)


def test_logme_prefers_features_that_tell_the_labels():
    ranked = transfer.rank_sources({"noise": rows(30, 5), "told": features(), "labels": np.eye(3)[LABELS]}, LABELS)
    assert [name for name, _ in ranked] == ["labels", "told", "noise"]
    assert np.isfinite(transfer.logme(np.zeros((30, 2)), LABELS))


def test_the_h_score_is_the_authors():
    x = features()
    means = np.stack([x[label == LABELS].mean(axis=0) for label in LABELS])
    expected = np.trace(np.linalg.pinv(np.cov(x.T), rcond=1e-15) @ np.cov(means.T))
    np.testing.assert_allclose(transfer.h_score(x, LABELS), expected, rtol=1e-8)


def test_the_h_score_of_features_that_depend_on_each_other_is_that_of_the_others():
    x = features()
    np.testing.assert_allclose(transfer.h_score(np.concatenate([x, x @ rows(5, 4)], axis=1), LABELS), transfer.h_score(x, LABELS))
    # Any features tell all labels, where they are as many as the examples.
    np.testing.assert_allclose(transfer.h_score(rows(30, 40), LABELS), 2)
    assert transfer.h_score(np.ones((30, 2)), LABELS) == 0


def test_leep_is_a_loop_over_examples_and_classes():
    guesses = softmax(rows(30, 4, scale=2.0))
    joint = np.zeros((3, 4))
    for label, row in zip(LABELS, guesses, strict=True):
        joint[label] += row / 30
    given = joint / joint.sum(axis=0)
    expected = np.mean(
        [np.log(sum(given[label, z] * row[z] for z in range(4))) for label, row in zip(LABELS, guesses, strict=True)]
    )
    np.testing.assert_allclose(transfer.leep(guesses, LABELS), expected, rtol=1e-8)
    # A source class that is never guessed changes nothing.
    wider = np.concatenate([guesses, np.zeros((30, 1))], axis=1)
    np.testing.assert_allclose(transfer.leep(wider, LABELS), expected, rtol=1e-8)


def test_the_negative_conditional_entropy_is_a_loop_over_pairs():
    source, expected = np.random.default_rng(3).integers(0, 4, 30), 0.0
    for z in range(4):
        for y in range(3):
            joint, of_source = ((source == z) & (y == LABELS)).mean(), (source == z).mean()
            expected += joint * np.log(joint / of_source) if joint else 0
    np.testing.assert_allclose(transfer.negative_conditional_entropy(source, LABELS), expected, rtol=1e-8)
    np.testing.assert_allclose(transfer.negative_conditional_entropy(source, LABELS), transfer.leep(np.eye(4)[source], LABELS))


def test_labels_may_be_any_integers():
    guesses = softmax(rows(30, 4))
    for score, given in ((transfer.logme, features()), (transfer.h_score, features()), (transfer.leep, guesses)):
        np.testing.assert_allclose(score(given, 7 * LABELS - 3), score(given, LABELS), rtol=1e-12)


def test_what_cannot_be_scored_is_refused():
    x = features()
    with pytest.raises(ValueError, match=r"targets must hold one row of numbers per example; got int64\[29\] for 30 examples"):
        transfer.logme(x, LABELS[1:])
    with pytest.raises(ValueError, match="targets must be finite; got 30 values that are NaN or infinite"):
        transfer.logme(x, np.full(30, np.nan))
    with pytest.raises(ValueError, match=r"features must hold features \[n, d\]"):
        transfer.h_score(x[0], LABELS)
    with pytest.raises(ValueError, match=r"labels must hold one integer label per example, \[30\]; got float64\[30\]"):
        transfer.h_score(x, LABELS * 1.0)
    with pytest.raises(ValueError, match="probabilities must be at least 0 and add up to 1 in each row; got a smallest one of"):
        transfer.leep(x, LABELS)
    with pytest.raises(ValueError, match="source_labels must hold at least one label; got none"):
        transfer.negative_conditional_entropy([], [])
    with pytest.raises(ValueError, match="sources must name at least one source; got none"):
        transfer.rank_sources({}, LABELS)
