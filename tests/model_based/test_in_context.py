"""The in-context learner against plain loops over rows and heads."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.model_based.networks import KEY, WAYS, affine, classification, cross_entropy, dense, made, plain, regression, softmax

LOSS = optax.softmax_cross_entropy_with_integer_labels
WIDTH, HEADS = 6, 2
OPTIONS = {"width": WIDTH, "heads": HEADS, "layers": 3}
LEARNER = jmeta.in_context_learner(jmeta.EncoderHead(dense(3), dense(WAYS)), LOSS, **OPTIONS)
OF_NUMBERS = jmeta.in_context_learner(jmeta.EncoderHead(dense(3), dense(1)), jmeta.squared_error, **OPTIONS)


def normalised(params, rows):
    centred = rows - rows.mean(axis=-1, keepdims=True)
    return params["scale"] * centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6) + params["bias"]


def block(params, row, context):
    """What becomes of one row that sees a context."""
    attention, seen = params["attention"], normalised(params["norm"], context)
    query = affine(attention["queries"], normalised(params["norm"], row))
    keys, values = (affine(attention[name], seen) for name in ("keys", "values"))
    found = []
    for head in range(HEADS):
        part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        shares = softmax(keys[:, part] @ query[part] / np.sqrt(WIDTH // HEADS))
        found.append(shares @ values[:, part])
    row = row + affine(attention["outputs"], np.concatenate(found))
    hidden = affine(params["hidden"], normalised(params["hidden_norm"], row))
    gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    return row + affine(params["outputs"], gelu)


def naive(params, episode, targets):
    support = affine(params["inputs"], plain(params["encoder"], episode.support.x)) + affine(params["targets"], targets)
    outputs = []
    for x in episode.query.x:
        context, row = support, affine(params["inputs"], plain(params["encoder"], x))
        for weights in params["blocks"]:
            row = block(weights, row, context)
            context = np.stack([block(weights, one, context) for one in context])
        outputs.append(plain(params["head"], normalised(params["norm"], row)))
    return np.stack(outputs)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_outputs_and_loss_are_those_of_plain_loops(x64, kind):
    learner, episode = (LEARNER, classification()) if kind == "labels" else (OF_NUMBERS, regression())
    params = made(learner, episode)
    outputs = naive(params, episode, np.eye(WAYS)[episode.support.y] if kind == "labels" else episode.support.y)
    assert np.abs(outputs - outputs[:1]).max() > 1e-2
    squared = np.square(outputs - episode.query.y).mean() if kind == "numbers" else None

    @jax.jit
    def run(params, episode):
        adapted = learner.adapt(params, None, episode.support, classes=episode.classes)
        return learner.predict(params, adapted, episode.query.x), learner.loss(params, KEY, episode)[0]

    expected = outputs, cross_entropy(outputs, episode.query.y) if kind == "labels" else squared
    chex.assert_trees_all_close(run(params, episode), expected, rtol=1e-10)


@pytest.mark.parametrize(("learner", "task"), [(LEARNER, classification), (OF_NUMBERS, regression)])
def test_meta_gradient_agrees_with_central_differences(x64, learner, task):
    testing.check_gradient(learner.loss, made(learner, task()), KEY, task(), tolerance=1e-6)


def test_weights_of_the_support_count_as_repeated_rows_do(x64):
    episode, counts = classification(), np.array([2, 0, 1, 3, 1, 0, 2])
    params, support = made(LEARNER, episode), episode.support
    weighed = episode._replace(support=support._replace(weights=counts / 7))
    repeated = episode._replace(support=jmeta.Batch(np.repeat(support.x, counts, axis=0), np.repeat(support.y, counts)))
    run = jax.jit(jax.value_and_grad(LEARNER.loss, has_aux=True))
    chex.assert_trees_all_close(run(params, KEY, weighed), run(params, KEY, repeated), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("case", ["nothing in the support", "a class without support", "dead units", "equal examples", "bfloat16"])
def test_values_and_gradients_are_finite(case):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), made(LEARNER, classification()))
    episode = jax.tree.map(jnp.asarray, classification())
    support = {
        "nothing in the support": episode.support._replace(mask=jnp.zeros(7, bool)),
        "a class without support": episode.support._replace(y=episode.support.y % 2),
        "equal examples": episode.support._replace(x=jnp.zeros((7, 2))),
        "bfloat16": episode.support._replace(x=episode.support.x.astype(jnp.bfloat16)),
    }.get(case, episode.support)
    params |= {"encoder": jax.tree.map(jnp.zeros_like, params["encoder"])} if case == "dead units" else {}
    found = jax.jit(jax.value_and_grad(LEARNER.loss, has_aux=True))(params, KEY, episode._replace(support=support))
    chex.assert_tree_all_finite(found)
    assert optax.tree.norm(found[1]) > 0


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads; got 6 and 4"):
        jmeta.in_context_learner(jmeta.EncoderHead(dense(3), dense(WAYS)), LOSS, width=6, heads=4).init(KEY, classification())
