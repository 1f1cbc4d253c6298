"""SNAIL against plain loops over one sequence for each query."""

import chex
import jax
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.model_based.networks import KEY, WAYS, affine, classification, cross_entropy, dense, made, plain, softmax

LOSS = optax.softmax_cross_entropy_with_integer_labels
MODEL = jmeta.EncoderHead(dense(3), dense(WAYS))
OPTIONS = {"attentions": ((4, 2), (3, 5)), "filters": 3}


def learner_of(length, *, shuffles=False):
    return jmeta.snail(MODEL, LOSS, length=length, shuffles=shuffles, **OPTIONS)


def attention(params, rows):
    """Each row looks at those before it and at itself: shares sum to one over what is looked at."""
    queries, keys, values = (affine(params[name], rows) for name in ("queries", "keys", "values"))
    found = []
    for at, query in enumerate(queries):
        shares = softmax(np.array([query @ key for key in keys[: at + 1]]) / np.sqrt(len(query)))
        found.append(shares @ values[: at + 1])
    return np.concatenate([rows, found], axis=1)


def convolution(params, rows, distance):
    appended = []
    for at, row in enumerate(rows):
        pair = np.concatenate([rows[at - distance] if at >= distance else np.zeros_like(row), row])
        appended.append(np.tanh(affine(params["values"], pair)) / (1 + np.exp(-affine(params["gates"], pair))))
    return np.concatenate([rows, appended], axis=1)


def naive(params, episode, distances):
    outputs = []
    for query in episode.query.x:
        x = plain(params["encoder"], np.concatenate([episode.support.x, query[None]]))
        rows = np.concatenate([x, np.concatenate([np.eye(WAYS)[episode.support.y], np.zeros((1, WAYS))])], axis=1)
        first, *between, last = params["layers"]
        rows = attention(first, rows)
        for layer, distance in zip(between, distances, strict=True):
            rows = convolution(layer, rows, distance)
        outputs.append(plain(params["head"], attention(last, rows)[-1]))
    return np.stack(outputs)


# The length, and distances that reach over so many rows and one more.
@pytest.mark.parametrize(("length", "distances"), [(7, [1, 2, 4]), (8, [1, 2, 4, 8]), (30, [1, 2, 4, 8, 16])])
def test_outputs_are_those_of_one_sequence_for_each_query(x64, length, distances):
    """As long as the learner was built for, and shorter."""
    learner, episode = learner_of(length), classification(rows=7)
    params = made(learner, episode)
    expected = naive(params, episode, distances)
    assert np.abs(expected - expected[:1]).max() > 1e-2

    @jax.jit
    def run(params, episode):
        adapted = learner.adapt(params, None, episode.support, classes=episode.classes)
        return learner.predict(params, adapted, episode.query.x), learner.loss(params, KEY, episode)[0]

    chex.assert_trees_all_close(run(params, episode), (expected, cross_entropy(expected, episode.query.y)), rtol=1e-10)


def test_the_first_row_of_the_longest_support_reaches_the_query_by_convolutions_alone(x64):
    """Attention sees nothing: its values are zeros."""
    learner, episode = learner_of(15), classification(rows=15, queries=1)
    params = made(learner, episode)
    for at in (0, -1):
        params["layers"][at]["values"] = jax.tree.map(np.zeros_like, params["layers"][at]["values"])

    def output(x):
        adapted = learner.adapt(params, None, episode.support._replace(x=x), classes=episode.classes)
        return learner.predict(params, adapted, episode.query.x).sum()

    slopes = np.abs(jax.jit(jax.grad(output))(episode.support.x)).max(axis=1)
    assert slopes.min() > 1e-12


@pytest.mark.parametrize("shuffles", [True, False])
def test_meta_gradient_agrees_with_central_differences(x64, shuffles):
    learner, episode = learner_of(7, shuffles=shuffles), classification()
    testing.check_gradient(learner.loss, made(learner, episode), KEY, episode, tolerance=1e-6)


def test_rows_that_do_not_count_are_as_if_they_were_not_there(x64):
    """Between the others, masked or of weight 0, they hold what they like."""
    learner, episode, keep = learner_of(7), classification(), np.array([True, False, True, True, False, True, False])
    params, support = made(learner, episode), episode.support
    masked = support._replace(x=np.where(keep[:, None], support.x, np.nan), mask=keep)
    weighed = support._replace(y=np.where(keep, support.y, 2**30), weights=3.0 * keep)
    run = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))
    expected = run(params, KEY, episode._replace(support=jmeta.Batch(support.x[keep], support.y[keep])))
    for one in (masked, weighed):
        chex.assert_trees_all_close(run(params, KEY, episode._replace(support=one)), expected, rtol=1e-12, atol=1e-14)


def test_more_rows_than_the_length_are_refused():
    learner = learner_of(6)
    with pytest.raises(ValueError, match="support must have at most length=6 rows, for which snail was built; got 7"):
        learner.init(KEY, classification(rows=7))


@pytest.mark.parametrize("attentions", [(), (4, 2), ((4, 2, 1),)])
def test_attentions_without_two_widths_are_refused(attentions):
    with pytest.raises(ValueError, match="attentions must be pairs of widths, of keys and of values, at least one; got"):
        jmeta.snail(MODEL, LOSS, length=5, attentions=attentions)
