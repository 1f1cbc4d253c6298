"""What a task encoder promises: a vector of a set of examples, and targets from it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch

KEY = jax.random.key(0)
OUTPUTS = jnp.zeros((6, 3))


def labelled(rows=6):
    return Batch(jax.random.normal(KEY, (rows, 4)), jnp.arange(rows) % 3)


def embedded(batch, params, **options):
    return jmeta.attention_task_encoder(embedding=5, width=8, **options).embed(params, batch, OUTPUTS)


@pytest.fixture(scope="module")
def params():
    made = jmeta.attention_task_encoder(embedding=5, width=8).init(KEY, labelled(), OUTPUTS)
    assert isinstance(made, jmeta.EncoderHead)
    return made


def test_an_embedding_is_that_of_a_set(params):
    batch = labelled()
    vector, order = embedded(batch, params), jnp.array([3, 1, 5, 0, 2, 4])
    assert vector.shape == (5,)
    # Sums in another order, in float32.
    np.testing.assert_allclose(embedded(jax.tree.map(lambda leaf: leaf[order], batch), params), vector, atol=1e-6)
    others = batch._replace(y=batch.y[::-1])
    assert not np.allclose(embedded(others, params), vector, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1e6, jnp.nan])
def test_what_is_masked_or_counts_nothing_is_not_seen(params, value):
    batch = labelled()
    padded = Batch(jnp.concatenate([batch.x, jnp.full((2, 4), value)]), jnp.concatenate([batch.y, jnp.array([7, 7])]))
    by_mask = padded._replace(mask=jnp.arange(8) < 6)
    expected = embedded(batch, params)
    np.testing.assert_allclose(embedded(by_mask, params), expected, atol=1e-6)
    absent = Batch(batch.x, batch.y.at[4:].set(1), weights=jnp.array([1, 1, 1, 1, 0, 0.0]))
    np.testing.assert_allclose(embedded(absent, params), embedded(jax.tree.map(lambda leaf: leaf[:4], absent), params), atol=1e-6)
    gradient = jax.grad(lambda params: embedded(by_mask, params).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_attention_is_a_softmax_over_the_examples_as_numpy_has_it(params):
    """The whole encoder in NumPy, row by row."""
    batch, part = labelled(), jax.device_get(params)
    relu = lambda values: np.maximum(values, 0)  # noqa: E731
    shared, own = part.encoder, part.head

    def layer(weights, x):
        return x @ weights["kernel"] + weights["bias"]

    def attend(weights, query, rows):
        scores = np.array([query @ (row @ weights["keys"]) for row in rows]) / np.sqrt(8)
        shares = np.exp(scores - scores.max())
        return sum(share * layer(weights["values"], row) for share, row in zip(shares / shares.sum(), rows, strict=True))

    rows = [
        relu(layer(shared["hidden"], relu(layer(shared["inputs"], x) + layer(own["targets"], np.eye(3)[y]))))
        for x, y in zip(np.asarray(batch.x), np.asarray(batch.y), strict=True)
    ]
    rows = [row + attend(shared["between"], row, rows) for row in rows]
    pooled = np.concatenate([attend(shared["pooled"], seed, rows) for seed in shared["seeds"]])
    expected = np.tanh(layer(shared["embedding"], relu(layer(shared["summary"], pooled))))
    np.testing.assert_allclose(embedded(batch, params), expected, atol=1e-6)


def test_targets_are_reconstructed_in_the_shape_of_the_outputs():
    encoder = jmeta.attention_task_encoder(embedding=5, width=8)
    x = jax.random.normal(KEY, (6, 4))
    outputs = {"mean": jnp.zeros((6, 2)), "deviation": jnp.zeros((6, 1, 2))}
    batch = Batch(x, x[:, :2])
    params = encoder.init(KEY, batch, outputs)
    rebuilt, targets = encoder.reconstruct(params, encoder.embed(params, batch, outputs), batch, outputs)
    assert jax.tree.map(jnp.shape, rebuilt) == jax.tree.map(jnp.shape, outputs)
    np.testing.assert_array_equal(targets.y, batch.y)


def test_embedding_and_inputs_are_enough_to_tell_lines_apart():
    """Trained on nothing but its reconstruction, half of the variance of a new line is explained; without a task, none of it."""
    encoder, lines = jmeta.attention_task_encoder(embedding=4, width=16), jmeta.multimodal(shots=5, queries=5, modes=["line"])
    outputs = jnp.zeros((5, 1))

    def loss(params, key, episode, *, step=0):
        del key, step
        vector = encoder.embed(params, episode.support, outputs)
        rebuilt, targets = encoder.reconstruct(params, vector, episode.query, outputs)
        value = jmeta.score(jmeta.squared_error, rebuilt, targets)
        return value, {"loss": value}

    params = encoder.init(KEY, lines.sample(lines.data, KEY).support, outputs)
    optimizer = optax.adam(3e-3)
    step = jmeta.make_step(jmeta.over_tasks(loss), optimizer)
    tasks, state = jmeta.batch_tasks(lines, 16), jmeta.init_state(params, optimizer, KEY)
    trained = jmeta.fit(step, state, tasks, num_steps=400, steps_per_chunk=400, progress=False).state.params
    fresh = jmeta.batch_tasks(lines, 256).sample(lines.data, jax.random.key(1))
    wrong = jmeta.over_tasks(loss)(trained, KEY, fresh)[0]
    assert wrong < 0.5 * jnp.square(fresh.query.y).mean()


def test_every_location_of_a_map_is_an_example():
    """Of outputs as large as features; targets on a finer grid are those of the corners."""
    encoder = jmeta.attention_task_encoder(embedding=3, width=4)
    maps, labels = jax.random.normal(KEY, (2, 3, 4, 5)), jax.random.randint(KEY, (2, 6, 8), 0, 2)
    coarse, outputs = labels[:, ::2, ::2], jnp.zeros((2, 6, 8, 2))
    params = encoder.init(KEY, Batch(maps, labels), outputs)
    vector = encoder.embed(params, Batch(maps, labels), outputs)
    rows = Batch(maps.reshape(24, 5), coarse.reshape(24))
    np.testing.assert_allclose(encoder.embed(params, rows, jnp.zeros((24, 2))), vector, atol=1e-6)
    rebuilt, targets = encoder.reconstruct(params, vector, Batch(maps, labels), outputs)
    assert rebuilt.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(targets.y, coarse)


def test_the_embedding_of_nothing_is_finite_and_learnt_where_it_is_asked_for(params):
    nobody = labelled()._replace(mask=jnp.zeros(6, bool))
    assert np.isfinite(embedded(nobody, params)).all()
    asked = jmeta.attention_task_encoder(embedding=5, width=8, empty=True)
    made = asked.init(KEY, labelled(), OUTPUTS)
    slope = jax.grad(lambda params: asked.embed(params, nobody, OUTPUTS).sum())(made).encoder["nothing"]
    assert np.isfinite(slope).all()
    assert (slope != 0).any()


@pytest.mark.parametrize("option", ["embedding", "width", "seeds"])
def test_bad_options_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least 1; got 0"):
        jmeta.attention_task_encoder(**{option: 0})
    with pytest.raises(ValueError, match="features must be a Model; got int"):
        jmeta.attention_task_encoder(features=3)
