"""What holds fine-tuning back: L2-SP, DELTA, batch spectral shrinkage, Co-Tuning."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, EncoderHead, testing, transfer
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
STAGES, HEAD = [layer(5, jnp.tanh), layer(4, jnp.tanh)], layer(3)


def whole(classes=3):
    return jmeta.compose(jmeta.chain(STAGES), layer(classes))


def with_nothing(batch):
    """The same batch, and two rows that are masked."""
    wider = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:2]]), Batch(batch.x, batch.y))
    return wider._replace(x=wider.x.at[8:].set(jnp.nan), mask=jnp.arange(10) < 8)


def without_memory(objective, start):
    """The objective as if it remembered nothing but the start."""
    memory = objective.init(start, KEY)

    def loss(params, key, data, *, step=0):
        value, (metrics, _) = objective.loss(params, key, data, memory, step=step)
        return value, metrics

    return loss


def images(count=6):
    return Batch(rows(3, 3, 4, count=count), jnp.arange(count) % 3)


def pooled(classes):
    """A head on channels last."""
    dense = layer(classes)
    pool = lambda x: x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)  # noqa: E731

    def apply(params, x, *, key=None, mask=None):
        return dense.apply(params, pool(x))

    return jmeta.Model(lambda key, x: dense.init(key, pool(x)), apply)


# --- L2-SP ------------------------------------------------------------------------------------------------------------------------


def test_l2_sp_pulls_to_the_start_and_new_leaves_to_zero(x64):
    params, data = whole().init(KEY, labelled().x), labelled()
    start = jax.tree.map(lambda leaf: leaf + 1.0, params.encoder)
    optimizer = optax.chain(jmeta.penalize(transfer.l2_sp(EncoderHead(start, None), new=0.5), 0.1), optax.sgd(1.0))
    objective = transfer.supervised(whole(), CROSS_ENTROPY)
    slope = jax.jit(jax.grad(lambda params: objective(params, KEY, data)[0]))(params)
    updates, _ = optimizer.update(slope, optimizer.init(params), params)
    expected = EncoderHead(
        jax.tree.map(lambda leaf, slope: -slope - 0.1 * (leaf - (leaf + 1)), params.encoder, slope.encoder),
        jax.tree.map(lambda leaf, slope: -slope - 0.1 * 0.5 * leaf, params.head, slope.head),
    )
    chex.assert_trees_all_close(updates, expected, rtol=1e-10)


def test_l2_sp_keeps_its_start_when_training_gives_the_buffers_away():
    start = {"a": jnp.ones(2)}
    penalty = transfer.l2_sp(start)
    start["a"].delete()
    assert float(penalty({"a": jnp.zeros(2)})) == 1.0


def test_l2_sp_refuses_a_start_that_does_not_fit():
    with pytest.raises(ValueError, match="start must hold the pretrained parameters; got none"):
        transfer.l2_sp({"encoder": None})
    for params in ({"b": jnp.ones(2)}, {"a": jnp.ones(3)}):
        with pytest.raises(ValueError, match="start must fit the parameters, None for what is new"):
            transfer.l2_sp({"a": jnp.ones(2)})(params)


# --- DELTA ------------------------------------------------------------------------------------------------------------------------


def test_delta_is_the_loop_over_layers_and_channels(x64):
    data, attention = images(), [jnp.arange(1.0, 6) / 15, jnp.arange(1.0, 5) / 10]
    params = jmeta.compose(jmeta.chain(STAGES), pooled(3)).init(KEY, data.x)
    start = jax.tree.map(lambda leaf: leaf * 0.8, params.encoder)
    apart, now, before = 0.0, data.x, data.x
    for at, stage in enumerate(STAGES):
        now, before = stage.apply(params.encoder[at], now), stage.apply(start[at], before)
        channels = now.shape[-1]
        for row in range(len(now)):
            for channel in range(channels):
                square = np.square(now[row, ..., channel] - before[row, ..., channel]).sum()
                apart += channels / 9 * attention[at][channel] * square / 2 / len(now)
    objective = without_memory(transfer.delta(STAGES, pooled(3), CROSS_ENTROPY, start, attention=attention, strength=0.3), params)
    value, metrics = jax.jit(objective)(params, KEY, data)
    np.testing.assert_allclose(metrics["distance"], apart, rtol=1e-10)
    np.testing.assert_allclose(value, metrics["task_loss"] + 0.3 * apart, rtol=1e-10)
    testing.check_gradient(objective, params, KEY, data, tolerance=1e-7)


def test_delta_at_the_start_is_the_loss_alone_and_trains(x64):
    data, model = labelled(), whole()
    params = model.init(KEY, data.x)
    objective = transfer.delta(STAGES, HEAD, CROSS_ENTROPY, params.encoder, strength=20)
    plain = transfer.supervised(model, CROSS_ENTROPY)
    slopes = [
        jax.jit(jax.grad(lambda params, loss=loss: loss(params, KEY, data)[0]))(params)
        for loss in (without_memory(objective, params), plain)
    ]
    chex.assert_trees_all_close(*slopes, rtol=1e-10)
    optimizer = optax.sgd(1e-2)
    step, state = jax.jit(jmeta.make_step(objective, optimizer)), jmeta.init_state(params, optimizer, KEY, objective=objective)
    for _ in range(20):
        state, metrics = step(state, data)
    chex.assert_trees_all_equal(state.memory[0], params.encoder)
    assert metrics["distance"] < 1e-3
    assert not np.allclose(state.params.head["kernel"], params.head["kernel"])


def test_attention_is_the_softmax_of_what_a_channel_is_worth(x64):
    data, model = labelled(), whole()
    params = model.init(KEY, data.x)
    found = jax.jit(lambda params, data: transfer.channel_attention(STAGES, HEAD, CROSS_ENTROPY, params, data))(params, data)
    features = np.asarray(jmeta.chain(STAGES).apply(params.encoder, data.x))

    def loss_of(features):
        logits = features @ np.asarray(params.head["kernel"])
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), data.y])

    worth = np.array([loss_of(features * (np.arange(4) != channel)) - loss_of(features) for channel in range(4)])
    powers = np.exp((worth - worth.mean()) / worth.std() / 5)
    np.testing.assert_allclose(found[1], powers / powers.sum(), rtol=1e-9)
    assert [len(part) for part in found] == [5, 4]
    masked = jax.jit(lambda *given: transfer.channel_attention(STAGES, HEAD, CROSS_ENTROPY, *given))(params, with_nothing(data))
    chex.assert_trees_all_close(masked, found, rtol=1e-9)


def test_delta_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="pretrained must have one entry for each of 2 stages; got 1"):
        transfer.delta(STAGES, HEAD, CROSS_ENTROPY, [{}])
    with pytest.raises(ValueError, match="attention must have one entry for each of 2 stages; got 3"):
        transfer.delta(STAGES, HEAD, CROSS_ENTROPY, [{}, {}], attention=[jnp.ones(1)] * 3)


# --- batch spectral shrinkage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smallest", [1, 3, 9])
def test_the_smallest_singular_values_are_numpy_s(x64, smallest):
    data = labelled()
    encoder = layer(5)
    params = jmeta.compose(encoder, HEAD).init(KEY, data.x)
    objective = transfer.batch_spectral_shrinkage(encoder, HEAD, CROSS_ENTROPY, smallest=smallest, strength=0.2)
    value, metrics = jax.jit(objective)(params, KEY, data)
    singular = np.linalg.svd(encoder.apply(params.encoder, data.x), compute_uv=False)
    np.testing.assert_allclose(metrics["spectrum"], np.square(singular[-smallest:]).sum(), rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(value, metrics["task_loss"] + 0.2 * metrics["spectrum"], rtol=1e-10)
    testing.check_gradient(objective, params, KEY, data, tolerance=1e-7)


def test_a_batch_of_equal_rows_has_a_finite_gradient():
    data = Batch(jnp.tile(rows(4)[:1], (8, 1)), jnp.zeros(8, int))
    params = jmeta.compose(layer(5), HEAD).init(KEY, data.x)
    objective = transfer.batch_spectral_shrinkage(layer(5), HEAD, CROSS_ENTROPY, smallest=2)
    chex.assert_tree_all_finite(jax.jit(jax.grad(lambda params: objective(params, KEY, data)[0]))(params))


def test_features_that_are_no_vectors_have_no_singular_values():
    objective = transfer.batch_spectral_shrinkage(layer(5), pooled(3), CROSS_ENTROPY)
    params = jmeta.compose(layer(5), pooled(3)).init(KEY, images().x)
    with pytest.raises(ValueError, match=r"encoder must give one vector per example, \[n, d\], to have singular values"):
        objective(params, KEY, images())
    with pytest.raises(ValueError, match="smallest must be a whole number of at least 1; got 0"):
        transfer.batch_spectral_shrinkage(layer(5), HEAD, CROSS_ENTROPY, smallest=0)


# --- Co-Tuning --------------------------------------------------------------------------------------------------------------------


def co_tuned(relationship):
    data = labelled()
    encoder, source = layer(5, jnp.tanh), layer(4)
    encoded = encoder.init(KEY, data.x)
    features = encoder.apply(encoded, data.x)
    heads = {"source": source.init(jax.random.key(1), features), "target": HEAD.init(jax.random.key(2), features)}
    return transfer.co_tuning(encoder, source, HEAD, CROSS_ENTROPY, relationship), EncoderHead(encoded, heads), features


def test_co_tuning_is_two_cross_entropies(x64):
    data = labelled()
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=3)
    objective, params, features = co_tuned(probabilities)
    value, metrics = jax.jit(objective)(params, KEY, data)
    source = jax.nn.log_softmax(layer(4).apply(params.head["source"], features))
    expected = -np.mean([probabilities[label] @ source[row] for row, label in enumerate(data.y)])
    np.testing.assert_allclose(metrics["source_loss"], expected, rtol=1e-10)
    target = CROSS_ENTROPY(HEAD.apply(params.head["target"], features), data.y).mean()
    np.testing.assert_allclose(value, target + 2.3 * expected, rtol=1e-10)
    testing.check_gradient(objective, params, KEY, data, tolerance=1e-7)


def test_the_relationship_is_the_mean_of_probabilities_over_a_class():
    logits, labels = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 1])
    found = transfer.category_relationship(logits, labels, classes=3)
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    np.testing.assert_allclose(found[1], probabilities[[1, 4, 5]].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    with pytest.raises(ValueError, match=r"labels must hold an example of each class 0, ..., 3; got \[0, 1, 2\]"):
        transfer.category_relationship(logits, labels, classes=4)
    with pytest.raises(ValueError, match=r"logits and labels must be \[n, sources\] and \[n\]"):
        transfer.category_relationship(logits, labels[:4], classes=3)


def test_co_tuning_refuses_what_is_no_relationship():
    with pytest.raises(ValueError, match=r"relationship must be \[classes, sources\] with rows that add up to 1"):
        co_tuned(np.ones((3, 4)))
    objective, params, _ = co_tuned(np.ones((3, 2)) / 2)
    with pytest.raises(ValueError, match="source_head must give 2 logits, one for each source class"):
        objective(params, KEY, labelled())


# --- all of them ------------------------------------------------------------------------------------------------------------------

RELATIONSHIP = np.full((3, 4), 0.25)


def objectives():
    params = jmeta.compose(jmeta.chain(STAGES), HEAD).init(KEY, labelled().x)
    delta = transfer.delta(STAGES, HEAD, CROSS_ENTROPY, jax.tree.map(lambda leaf: leaf / 2, params.encoder))
    two = EncoderHead(params.encoder[0], layer(3).init(KEY, jnp.zeros((1, 5))))
    return {
        "delta": (without_memory(delta, params), params),
        "batch_spectral_shrinkage": (transfer.batch_spectral_shrinkage(STAGES[0], HEAD, CROSS_ENTROPY, smallest=2), two),
        "co_tuning": co_tuned(RELATIONSHIP)[:2],
    }


@pytest.mark.parametrize("name", ["delta", "batch_spectral_shrinkage", "co_tuning"])
def test_masked_rows_are_as_if_they_were_not_there(x64, name):
    objective, params = objectives()[name]
    params, data = jax.tree.map(lambda leaf: leaf.astype(float), params), labelled()
    differentiate = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (value, _), slope = differentiate(params, KEY, data)
    given = with_nothing(data)
    (masked, _), its_slope = differentiate(params, KEY, given)
    chex.assert_trees_all_close((masked, its_slope), (value, slope), rtol=1e-9, atol=1e-12)
    (value, metrics), slope = differentiate(params, KEY, given._replace(mask=jnp.zeros(10, bool)))
    assert not metrics["present"]
    assert not any(leaf.any() for leaf in jax.tree.leaves((value, slope)))


@pytest.mark.parametrize("name", ["delta", "batch_spectral_shrinkage", "co_tuning"])
def test_half_precision_keeps_its_type(name):
    objective, params = objectives()[name]
    half, data = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params), labelled()
    data = data._replace(x=data.x.astype(jnp.bfloat16))
    slope = jax.jit(jax.grad(lambda params: objective(params, KEY, data)[0]))(half)
    chex.assert_trees_all_equal_dtypes(slope, half)
    chex.assert_tree_all_finite(slope)
