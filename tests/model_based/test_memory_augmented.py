"""Memory-augmented networks against plain loops, and what their memory does in hard cases."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from jmeta.nn import MemoryCell
from tests.model_based.networks import KEY, WAYS, affine, classification, cross_entropy, dense, made, plain

WIDTH, READS, SLOTS, UNITS = 4, 2, 5, 6
LOSS = optax.softmax_cross_entropy_with_integer_labels
CELL = MemoryCell(units=UNITS, slots=SLOTS, width=WIDTH, reads=READS, decay=0.9, sharpness=3.0)
MODEL = jmeta.EncoderHead(dense(3), dense(WAYS))
LEARNER = jmeta.memory_augmented_networks(MODEL, LOSS, cell=CELL)
IN_ORDER = jmeta.memory_augmented_networks(MODEL, LOSS, cell=CELL, shuffles=False)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(params, state, x):
    """One step of the cell, in loops over heads and slots."""
    (c, h), memory, weights, usage, found = state
    seen, lstm = np.concatenate([x, *found]), params["lstm"]
    i, f, g, o = (affine(lstm["i" + gate], seen) + affine(lstm["h" + gate], h) for gate in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    keys, gates = np.tanh(affine(params["keys"], h)).reshape(READS, WIDTH), sigmoid(affine(params["gates"], h))
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
        state, output = step(params["cell"], state, np.concatenate([plain(params["encoder"], x), told]))
        told = np.eye(WAYS)[y]
        before.append(plain(params["head"], output))
    for x in episode.query.x:
        _, output = step(params["cell"], state, np.concatenate([plain(params["encoder"], x), told]))
        after.append(plain(params["head"], output))
    return np.stack(before), np.stack(after)


def test_outputs_and_losses_are_those_of_plain_loops(x64):
    episode = classification()
    params = made(IN_ORDER, episode)
    before, after = naive(params, episode)
    assert np.abs(after - after[:1]).max() > 1e-2

    @jax.jit
    def run(params, episode):
        adapted = IN_ORDER.adapt(params, None, episode.support, classes=episode.classes)
        outputs = IN_ORDER.predict(params, adapted, episode.query.x)
        return outputs, IN_ORDER.loss(params, KEY, episode), IN_ORDER.loss(params, KEY, episode, training=False)

    parts = {"loss": cross_entropy(after, episode.query.y), "support_loss": cross_entropy(before, episode.support.y)}
    expected = after, (sum(parts.values()), parts), (parts["loss"], parts)
    chex.assert_trees_all_close(run(params, episode), expected, rtol=1e-10)


def test_the_order_is_drawn_from_the_key(x64):
    """The outputs are those of one of the orders of the rows that count, and over many keys of each."""
    episode, keep = classification(rows=5, queries=1), np.array([1, 2, 4])
    params = made(LEARNER, episode)
    support = episode.support._replace(mask=np.isin(np.arange(5), keep))

    def run(key):
        return LEARNER.predict(params, LEARNER.adapt(params, key, support, classes=episode.classes), episode.query.x)[0]

    outputs = jax.jit(jax.vmap(run))(jax.random.split(KEY, 40))
    orders = map(list, itertools.permutations(keep))
    ordered = [episode._replace(support=jmeta.Batch(support.x[order], support.y[order])) for order in orders]
    expected = np.stack([naive(params, one)[1][0] for one in ordered])
    gaps = np.abs(outputs[:, None] - expected[None]).max(axis=-1)
    np.testing.assert_allclose(gaps.min(axis=1), 0, atol=1e-12)
    assert set(gaps.argmin(axis=1)) == set(range(6))


@pytest.mark.parametrize("learner", [LEARNER, IN_ORDER])
def test_meta_gradient_agrees_with_central_differences(x64, learner):
    episode = classification()
    testing.check_gradient(learner.loss, made(learner, episode), KEY, episode, tolerance=1e-6)


def with_cell(params, **changes):
    return params | {"cell": params["cell"] | changes}


def constant_keys(params, value):
    """Every key of every step is the same vector."""
    keys = params["cell"]["keys"]
    return with_cell(params, keys={"kernel": 0 * keys["kernel"], "bias": jnp.full_like(keys["bias"], value)})


def half(episode):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, episode)


def of_rows(episode, **changes):
    return episode._replace(support=episode.support._replace(**changes))


HARD = {
    "equal keys": (lambda params: constant_keys(params, 1.0), lambda episode: episode),
    "keys of length zero": (lambda params: constant_keys(params, 0.0), lambda episode: episode),
    "dead units": (lambda params: params | {"encoder": jax.tree.map(jnp.zeros_like, params["encoder"])}, lambda episode: episode),
    "an LSTM of zeros": (lambda params: with_cell(params, lstm=jax.tree.map(jnp.zeros_like, params["cell"]["lstm"])), half),
    "bfloat16 inputs": (lambda params: params, half),
    "a class without support": (lambda params: params, lambda episode: of_rows(episode, y=episode.support.y % 2)),
    "labels outside the ways": (lambda params: params, lambda episode: of_rows(episode, y=episode.support.y + 1)),
    "nothing in the support": (lambda params: params, lambda episode: of_rows(episode, mask=jnp.zeros(7, bool))),
    "one example": (lambda params: params, lambda episode: of_rows(episode, mask=jnp.arange(7) == 3)),
    "more steps than slots": (lambda params: params, lambda episode: of_rows(episode, **repeated(episode.support))),
}


def repeated(support):
    return {"x": jnp.tile(support.x, (5, 1)), "y": jnp.tile(support.y, 5)}


loss_and_gradient = jax.jit(jax.value_and_grad(LEARNER.loss, has_aux=True))


@pytest.mark.parametrize("case", HARD)
def test_values_and_gradients_are_finite(case):
    change_params, change = HARD[case]
    episode = jax.tree.map(jnp.asarray, classification())
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), made(LEARNER, episode))
    found = loss_and_gradient(change_params(params), KEY, change(episode))
    chex.assert_tree_all_finite(found)
    assert optax.tree.norm(found[1]) > 0


def test_rows_that_do_not_count_are_as_if_they_were_not_there(x64):
    """Between the others, masked or of weight 0, they hold what they like."""
    episode, keep = classification(), np.array([True, False, True, True, False, True, False])
    params = made(IN_ORDER, episode)
    x = np.where(keep[:, None], episode.support.x, np.nan)
    masked = of_rows(episode, x=x, mask=keep)
    weighed = of_rows(episode, y=np.where(keep, episode.support.y, 2**30), weights=3.0 * keep)
    without = of_rows(episode, x=episode.support.x[keep], y=episode.support.y[keep])
    run = jax.jit(jax.value_and_grad(IN_ORDER.loss, has_aux=True))
    for one in (masked, weighed):
        chex.assert_trees_all_close(run(params, KEY, one), run(params, KEY, without), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"slots": 2, "reads": 3}, "slots must be at least reads, 3, each of which writes into one; got 2"),
        ({"units": 0}, "units must be a whole number of at least 1; got 0"),
        ({"decay": 1.5}, "decay must be from 0 to 1; got 1.5"),
        ({"sharpness": 0.0}, "sharpness must be positive; got 0.0"),
    ],
)
def test_cells_that_can_not_be_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MemoryCell(**options)
