"""Memory-augmented networks against plain loops, and what their memory does in hard cases."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from jmeta.nn import MemoryCell

KEY = jax.random.key(0)
WAYS, WIDTH, READS, SLOTS, UNITS = 3, 4, 2, 5, 6
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def dense(width):
    """A tanh layer in the precision of the test."""

    def init(key, x):
        return jax.random.normal(key, (x.shape[-1], width)) / 2

    return jmeta.Model(init, lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params))


CELL = MemoryCell(units=UNITS, slots=SLOTS, width=WIDTH, reads=READS, decay=0.9, sharpness=3.0)
MODEL = jmeta.EncoderHead(dense(3), dense(WAYS))
LEARNER = jmeta.memory_augmented_networks(MODEL, cross_entropy, cell=CELL, shuffles=False)


def task(rows=7, queries=4):
    generator = np.random.default_rng(rows)
    x, query_x = (generator.normal(size=(n, 2)) for n in (rows, queries))
    y, query_y = (generator.permutation(np.arange(n) % WAYS) for n in (rows, queries))
    return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(query_x, query_y), np.ones(WAYS, bool))


def made(learner=LEARNER, episode=None):
    """Parameters in float64, which flax makes in float32."""
    params = jax.jit(learner.init)(KEY, task() if episode is None else episode)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(params, state, x):
    """One step of the cell, in loops over heads and slots."""
    (c, h), memory, weights, usage, found = state
    seen, lstm = np.concatenate([x, *found]), params["lstm"]
    i, f, g, o = (seen @ lstm["i" + gate]["kernel"] + h @ lstm["h" + gate]["kernel"] + lstm["h" + gate]["bias"] for gate in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    keys = np.tanh(h @ params["keys"]["kernel"] + params["keys"]["bias"]).reshape(READS, WIDTH)
    gates = sigmoid(h @ params["gates"]["kernel"] + params["gates"]["bias"])
    least = np.argsort(usage, kind="stable")[:READS]
    memory, written = memory.copy(), np.zeros((READS, SLOTS))
    memory[least[0]] = 0
    for head in range(READS):
        written[head] = gates[head] * weights[head]
        written[head, least[head]] += 1 - gates[head]
        for slot in range(SLOTS):
            memory[slot] += written[head, slot] * keys[head]
    weights, found = np.zeros((READS, SLOTS)), np.zeros((READS, WIDTH))
    for head in range(READS):
        for slot in range(SLOTS):
            lengths = [np.sqrt(vector @ vector + 1e-6) for vector in (keys[head], memory[slot])]
            weights[head, slot] = np.exp(3 * keys[head] @ memory[slot] / np.prod(lengths))
        weights[head] /= weights[head].sum()
        found[head] = weights[head] @ memory
    usage = 0.9 * usage + weights.sum(axis=0) + written.sum(axis=0)
    return ((c, h), memory, weights, usage, found), np.concatenate([h, *found])


def naive(params, episode):
    """Outputs for the support, each before its label is told, and for the queries."""
    zeros = np.zeros(UNITS), np.zeros(UNITS)
    state = zeros, np.zeros((SLOTS, WIDTH)), np.zeros((READS, SLOTS)), np.zeros(SLOTS), np.zeros((READS, WIDTH))
    told, before, after = np.zeros(WAYS), [], []
    for x, y in zip(episode.support.x, episode.support.y, strict=True):
        state, output = step(params["cell"], state, np.concatenate([np.tanh(x @ params["encoder"]), told]))
        told = np.eye(WAYS)[y]
        before.append(np.tanh(output @ params["head"]))
    for x in episode.query.x:
        _, output = step(params["cell"], state, np.concatenate([np.tanh(x @ params["encoder"]), told]))
        after.append(np.tanh(output @ params["head"]))
    return np.stack(before), np.stack(after)


def entropy(outputs, labels):
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(outputs, labels, strict=True)])


def test_outputs_and_losses_are_those_of_plain_loops(x64):
    episode = task()
    params = made()
    before, after = naive(params, episode)
    adapted = jax.jit(LEARNER.adapt)(params, None, episode.support, classes=episode.classes)
    np.testing.assert_allclose(jax.jit(LEARNER.predict)(params, adapted, episode.query.x), after, rtol=1e-10)
    assert np.abs(after - after[:1]).max() > 1e-3
    value, metrics = jax.jit(LEARNER.loss)(params, KEY, episode)
    expected = {"loss": entropy(after, episode.query.y), "support_loss": entropy(before, episode.support.y)}
    chex.assert_trees_all_close((value, metrics), (sum(expected.values()), expected), rtol=1e-10)
    value, metrics = jax.jit(lambda *given: LEARNER.loss(*given, training=False))(params, KEY, episode)
    np.testing.assert_allclose((value, metrics["loss"]), expected["loss"], rtol=1e-10)


def test_the_order_is_drawn_from_the_key_and_matters(x64):
    """The outputs are those of one of the orders, and over the keys of many."""
    learner = jmeta.memory_augmented_networks(MODEL, cross_entropy, cell=CELL)
    episode = task(rows=3, queries=1)
    params = made(learner, episode)
    adapt = jax.jit(jax.vmap(learner.adapt, in_axes=(None, 0, None)), static_argnames=())
    adapted = jax.vmap(lambda key: learner.adapt(params, key, episode.support, classes=episode.classes))(jax.random.split(KEY, 40))
    del adapt
    outputs = np.asarray(jax.vmap(lambda adapted: learner.predict(params, adapted, episode.query.x))(adapted))[:, 0]
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    ordered = [episode._replace(support=jax.tree.map(lambda leaf, order=order: leaf[order], episode.support)) for order in orders]
    expected = np.stack([naive(params, one)[1][0] for one in ordered])
    gaps = np.abs(outputs[:, None] - expected[None]).max(axis=-1)
    np.testing.assert_allclose(gaps.min(axis=1), 0, atol=1e-12)
    assert set(gaps.argmin(axis=1)) == set(range(6))


@pytest.mark.parametrize("shuffles", [True, False])
def test_meta_gradient_agrees_with_central_differences(x64, shuffles):
    learner = jmeta.memory_augmented_networks(MODEL, cross_entropy, cell=CELL, shuffles=shuffles)
    testing.check_gradient(learner.loss, made(), KEY, task(), tolerance=1e-6)
