"""Reptile: the sign, the data it adapts on, and its mini-batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta

KEY = jax.random.key(0)
MODEL = jmeta.Model(lambda key, x: {"w": jnp.ones((2, 1))}, lambda params, x, *, key=None, mask=None: jnp.tanh(x) @ params["w"])


def episodes(tasks):
    keys = jax.random.split(KEY, 4)
    draw = lambda key, rows, columns: jax.random.normal(key, (tasks, rows, columns))  # noqa: E731
    return jmeta.Episode(
        jmeta.Batch(draw(keys[0], 4, 2), draw(keys[1], 4, 1)), jmeta.Batch(draw(keys[2], 3, 2), draw(keys[3], 3, 1))
    )


def adapted_by_hand(start, episode, num_steps=5):
    """Plain gradient descent in numpy on support and query together."""
    features = np.tanh(np.concatenate([episode.support.x, episode.query.x]))
    targets = np.concatenate([episode.support.y, episode.query.y])
    weights = np.asarray(start)
    for _ in range(num_steps):
        weights = weights - 0.1 * 2 * features.T @ (features @ weights - targets) / len(features)
    return weights


def test_gradient_is_the_parameters_minus_the_adapted_ones(x64):
    learner = jmeta.reptile(MODEL, jmeta.squared_error, optax.sgd(0.1))
    data = episodes(1)
    episode = jax.tree.map(lambda leaf: leaf[0], data)
    params = learner.init(KEY, episode)
    (loss, metrics), gradient = jax.value_and_grad(learner.loss, has_aux=True)(params, KEY, episode)
    expected = np.ones((2, 1)) - adapted_by_hand(np.ones((2, 1)), episode)
    np.testing.assert_allclose(gradient["w"], expected, rtol=1e-10)
    np.testing.assert_allclose((loss, metrics["distance"]), np.square(expected).sum() / 2, rtol=1e-10)


def test_one_outer_step_moves_towards_the_mean_of_the_adapted_parameters(x64):
    """theta + e mean(adapted - theta): the other sign walks away."""
    learner, data = jmeta.reptile(MODEL, jmeta.squared_error, optax.sgd(0.1)), episodes(3)
    start = np.ones((2, 1))
    step = jmeta.make_step(jmeta.over_tasks(learner.loss), optax.sgd(0.25))
    state, _ = step(jmeta.init_state({"w": jnp.asarray(start)}, optax.sgd(0.25), KEY), data)
    adapted = np.mean([adapted_by_hand(start, jax.tree.map(lambda leaf, t=t: leaf[t], data)) for t in range(3)], axis=0)
    np.testing.assert_allclose(state.params["w"], start + 0.25 * (adapted - start), rtol=1e-10)
    assert np.linalg.norm(state.params["w"] - adapted) < np.linalg.norm(start - adapted)


def test_outside_training_the_query_judges_what_was_learnt_from_the_support(x64):
    """A validation loss of rows that were adapted on would choose whatever fits them fastest."""
    learner, episode = jmeta.reptile(MODEL, jmeta.squared_error, optax.sgd(0.1)), jax.tree.map(lambda leaf: leaf[0], episodes(1))
    params = learner.init(KEY, episode)
    adapted = adapted_by_hand(np.ones((2, 1)), episode._replace(query=jax.tree.map(lambda leaf: leaf[:0], episode.query)))
    expected = np.square(np.tanh(episode.query.x) @ adapted - episode.query.y).mean()
    value, metrics = learner.loss(params, KEY, episode, training=False)
    np.testing.assert_allclose((value, metrics["loss"]), expected, rtol=1e-10)
    sampler = jmeta.Sampler((), lambda data, key: episode)
    found = jmeta.validator(learner, sampler, metric=jmeta.squared_error, episodes=2)(params)
    np.testing.assert_allclose((found["loss"], found["squared_error"]), expected, rtol=1e-10)


def test_only_the_chosen_parameters_move(x64):
    """The others take part in predicting, and stay as they were initialised."""
    model = jmeta.Model(
        lambda key, x: {"w": jnp.ones((2, 1)), "scale": jnp.full(2, 0.5)},
        lambda params, x, *, key=None, mask=None: jnp.tanh(x * params["scale"][None] * 2) @ params["w"],
    )
    learner = jmeta.reptile(model, jmeta.squared_error, optax.sgd(0.1), adapts=lambda path: path == "w")
    episode = jax.tree.map(lambda leaf: leaf[0], episodes(1))
    params = learner.init(KEY, episode)
    (value, _), gradient = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode)
    moved = np.ones((2, 1)) - adapted_by_hand(np.ones((2, 1)), episode)
    chex.assert_trees_all_close(gradient, {"w": moved, "scale": np.zeros(2)}, rtol=1e-10)
    np.testing.assert_allclose(value, np.square(moved).sum() / 2, rtol=1e-10)
    assert learner.adapt(params, KEY, episode.support)["scale"] is None
    with pytest.raises(ValueError, match="adapts must choose at least one leaf; got none of scale, w"):
        jmeta.reptile(model, jmeta.squared_error, optax.sgd(0.1), adapts=lambda path: path == "head").init(KEY, episode)


def test_mini_batches_are_real_rows_drawn_without_replacement():
    """One inner step on a mean: with targets that are powers of two the drawn rows can be read off the update."""
    model = jmeta.Model(
        lambda key, x: {"w": jnp.zeros(())}, lambda params, x, *, key=None, mask=None: params["w"] * jnp.ones_like(x)
    )
    linear = lambda outputs, targets: outputs * targets  # noqa: E731
    learner = jmeta.reptile(model, linear, optax.sgd(1.0), num_steps=1, batch_size=2)
    y = 2.0 ** jnp.arange(5)[:, None]
    support = jmeta.Batch(jnp.zeros((5, 1)), y, jnp.arange(5) < 4)
    adapt = jax.jit(jax.vmap(lambda key: learner.adapt({"w": jnp.zeros(())}, key, support)["w"]))
    sums = {round(-2 * float(value)) for value in adapt(jax.random.split(KEY, 200))}
    # Every pair of the four real rows, none twice, none with the padded fifth.
    assert sums == {2**i + 2**j for i in range(4) for j in range(i)}


def test_a_mini_batch_larger_than_the_task_takes_all_rows(x64):
    data = episodes(1)
    episode = jax.tree.map(lambda leaf: leaf[0], data)
    params = {"w": jnp.ones((2, 1))}
    adapted = [
        jmeta.reptile(MODEL, jmeta.squared_error, optax.sgd(0.1), batch_size=size).adapt(params, KEY, episode.support)["w"]
        for size in (None, 4, 9)
    ]
    # The rows come in another order: rounding only.
    np.testing.assert_allclose(adapted[1], adapted[0], rtol=1e-14)
    np.testing.assert_allclose(adapted[2], adapted[0], rtol=1e-14)


def test_bad_batch_size_is_refused():
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1; got 0"):
        jmeta.reptile(MODEL, jmeta.squared_error, optax.sgd(0.1), batch_size=0)
