"""Siamese, matching and relation networks against plain NumPy, on hard tasks, and their gradients by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import jmeta
from jmeta import testing
from tests.metric_based.tasks import HARD, SCALES, WIDTH, as_type, task, without_support

KEY = jax.random.key(0)
WAYS = 4
cross_entropy = optax.softmax_cross_entropy_with_integer_labels
COMPARING = jmeta.Model(
    lambda key, x: jnp.sin(1.0 + jnp.arange(x.shape[1]))[:, None], lambda params, x, *, key=None, mask=None: jnp.tanh(x) @ params
)
PAIRS = jmeta.EncoderHead(SCALES, COMPARING)
LEARNERS = {
    "siamese": jmeta.siamese_networks(SCALES),
    "siamese, contrastive": jmeta.siamese_networks(SCALES, margin=2.0),
    "matching": jmeta.matching_networks(SCALES),
    "relation": jmeta.relation_networks(PAIRS),
}
SCALE, SHIFT = np.linspace(-0.5, 0.3, WIDTH), 0.2
VECTOR = np.linspace(0.5, 1.5, WIDTH)
PARAMS = {
    "siamese": {"encoder": VECTOR, "scale": SCALE, "shift": SHIFT},
    "siamese, contrastive": {"encoder": VECTOR},
    "matching": VECTOR,
    "relation": jmeta.EncoderHead(VECTOR, np.linspace(-1, 1, 2 * WIDTH)[:, None]),
}


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def features(episode):
    return episode.support.x * VECTOR, episode.query.x * VECTOR


def siamese(support, query):
    return np.abs(query - support) @ SCALE + SHIFT


def contrastive(support, query):
    return -np.square(query - support).sum()


def cosine(support, query):
    return support @ query / np.linalg.norm(support) / np.linalg.norm(query)


def most_similar(episode, similarity):
    support, queries = features(episode)
    return [
        [
            max(similarity(row, query) for row, label in zip(support, episode.support.y, strict=True) if label == way)
            for way in range(WAYS)
        ]
        for query in queries
    ]


def attended(episode):
    support, queries = features(episode)
    rows = []
    for query in queries:
        attention = np.exp([10 * cosine(row, query) for row in support])
        rows.append([np.log(attention[episode.support.y == way].sum() / attention.sum()) for way in range(WAYS)])
    return rows


def related(episode):
    support, queries = features(episode)
    sums = [support[episode.support.y == way].sum(axis=0) for way in range(WAYS)]
    return [[(np.tanh(np.concatenate([one, query])) @ PARAMS["relation"].head).item() for one in sums] for query in queries]


PLAIN = {
    "siamese": lambda episode: most_similar(episode, siamese),
    "siamese, contrastive": lambda episode: most_similar(episode, contrastive),
    "matching": attended,
    "relation": related,
}


def predicted(name, episode):
    learner = LEARNERS[name]
    adapted = learner.adapt(PARAMS[name], KEY, episode.support, classes=jnp.asarray(episode.classes))
    return learner.predict(PARAMS[name], adapted, jnp.asarray(episode.query.x))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("rows", [12, 10, 4])
def test_predictions_are_those_of_plain_numpy(x64, name, rows):
    episode = task(0, rows=rows)
    np.testing.assert_allclose(predicted(name, episode), PLAIN[name](episode), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["siamese", "siamese, contrastive"])
def test_verification_is_that_of_all_pairs_of_which_equal_and_different_ones_count_alike(x64, name):
    episode = task(1)
    support, queries = features(episode)
    costs = {True: [], False: []}
    for row, label in zip(support, episode.support.y, strict=True):
        for query, asked in zip(queries, episode.query.y, strict=True):
            same = bool(label == asked)
            if name == "siamese":
                right = sigmoid(siamese(row, query)) if same else 1 - sigmoid(siamese(row, query))
                costs[same].append(-np.log(right))
            else:
                distance = np.linalg.norm(row - query)
                costs[same].append(distance**2 if same else max(0, 2 - distance) ** 2)
    _, metrics = LEARNERS[name].loss(PARAMS[name], KEY, episode)
    np.testing.assert_allclose(metrics["verification"], np.mean([np.mean(costs[True]), np.mean(costs[False])]), rtol=1e-10)


def test_the_loss_of_relations_is_the_squared_error_of_sigmoids(x64):
    episode = task(2)
    scores = sigmoid(np.asarray(PLAIN["relation"](episode)))
    expected = np.square(scores - np.eye(WAYS)[episode.query.y]).sum(axis=1).mean()
    np.testing.assert_allclose(LEARNERS["relation"].loss(PARAMS["relation"], KEY, episode)[0], expected, rtol=1e-10)


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_central_differences(x64, name):
    episode, learner = task(3), LEARNERS[name]
    testing.check_gradient(learner.loss, jax.tree.map(jnp.asarray, PARAMS[name]), KEY, episode)


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("name", LEARNERS)
def test_hard_tasks_have_finite_losses_and_gradients(name, case):
    dtype = jnp.bfloat16 if case == "bfloat16" else jnp.float32
    params, episode = as_type(PARAMS[name], dtype), as_type(HARD[case], dtype)
    (loss, metrics), gradient = jax.value_and_grad(LEARNERS[name].loss, has_aux=True)(params, KEY, episode)
    for leaf in jax.tree.leaves((loss, metrics, gradient)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("name", ["siamese", "siamese, contrastive", "matching"])
def test_a_class_without_support_is_never_chosen(x64, name):
    assert (predicted(name, without_support(task(4), 2)).argmax(axis=1) != 2).all()


def test_a_support_row_of_weight_two_is_two_rows_to_matching_networks(x64):
    episode = task(5, rows=6)
    twice = jmeta.Batch(*(np.concatenate([leaf, leaf[:1]]) for leaf in (episode.support.x, episode.support.y)))
    weighted = episode.support._replace(weights=np.where(np.arange(6) == 0, 2.0, 1.0))
    expected = predicted("matching", episode._replace(support=twice))
    np.testing.assert_allclose(predicted("matching", episode._replace(support=weighted)), expected, rtol=1e-10)


def test_a_class_that_attention_all_but_leaves_out_has_a_finite_logarithm():
    """By the formula in logarithms, where float32 has no such small number as its share."""
    episode = as_type(task(6, rows=4), jnp.float32)
    learner = jmeta.matching_networks(SCALES, scale=500.0)
    params = jnp.ones(WIDTH)
    adapted = learner.adapt(params, KEY, episode.support, classes=episode.classes)
    cosines = np.array([[cosine(row, query) for row in np.asarray(episode.support.x)] for query in np.asarray(episode.query.x)])
    expected = 500 * cosines - scipy.special.logsumexp(500 * cosines, axis=1, keepdims=True)
    assert (expected.min(axis=1) < np.log(np.finfo(np.float32).tiny)).any()
    # Rounding of cosines, 500 times.
    np.testing.assert_allclose(learner.predict(params, adapted, episode.query.x), expected, rtol=1e-4, atol=1e-3)
    gradient = jax.grad(learner.loss, has_aux=True)(params, KEY, episode)[0]
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: jmeta.siamese_networks(SCALES, margin=0.0), "margin must be positive"),
        (lambda: jmeta.matching_networks(SCALES, scale=-1.0), "scale must be positive"),
        (lambda: jmeta.relation_networks(SCALES), "model must"),
        (
            lambda: jmeta.relation_networks(jmeta.EncoderHead(SCALES, SCALES)).init(KEY, task(0)),
            r"model.head must give one number for each pair, \[pairs, 1\]; got \(12, 10\)",
        ),
        (lambda: jmeta.siamese_networks(jmeta.from_functions(*_scalar())).init(KEY, task(0)), "encoder must give one vector"),
        (lambda: jmeta.matching_networks(SCALES).init(KEY, without_support(task(0), 1)), "support"),
        (lambda: jmeta.matching_networks(jmeta.from_functions(*_scalar())).init(KEY, task(0)), "encoder must give one vector"),
        (lambda: jmeta.prototypical_networks(jmeta.from_functions(*_scalar())).init(KEY, task(0)), "encoder must give one vector"),
    ],
)
def test_bad_input_gets_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def _scalar():
    return lambda key, x: jnp.ones(()), lambda params, x: x.sum(axis=1) * params
