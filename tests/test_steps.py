"""Training steps: what optimisers are given, memories, and steps made of several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta

KEY = jax.random.key(0)
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.zeros(())}
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = X @ np.array([0.5, 1.0, -1.0], np.float32)


def squared_distance(params, key, data, *, step=0):
    del key, step
    x, y = data
    value = jnp.square(x @ params["w"] + params["b"] - y).mean()
    return value, {"loss": value}


def steps(step, state, count, data=(X, Y)):
    step = jax.jit(step)
    for _ in range(count):
        state, metrics = step(state, data)
    return state, metrics


def trained(optimizer, count=5, objective=squared_distance):
    return steps(jmeta.make_step(objective, optimizer), jmeta.init_state(PARAMS, optimizer, KEY), count)[0].params


def loss_of(params):
    return squared_distance(params, KEY, (X, Y))[0]


def test_optimisers_that_ask_for_the_value_get_it():
    optimizer = optax.polyak_sgd()
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(5):
        value, gradient = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradient, state, params, value=value)
        params = optax.apply_updates(params, updates)
    # float32, compiled as one program and one by one
    chex.assert_trees_all_close(trained(optimizer), params, rtol=1e-5)


def test_the_learning_rate_may_follow_a_plateau():
    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=1.0))
    # No step improves by all of the loss, so that the rate is halved.
    found = steps(jmeta.make_step(squared_distance, optimizer), jmeta.init_state(PARAMS, optimizer, KEY), 8)[0]
    assert float(found.optimizer_state[1].scale) < 1


def test_a_line_search_gets_the_function():
    def close(params):
        return np.sqrt(np.square(params["w"] - np.array([0.5, 1.0, -1.0])).sum() + np.square(params["b"]))

    assert close(jax.device_get(trained(optax.lbfgs(), 10))) < 1e-4 < close(jax.device_get(trained(optax.sgd(0.1), 10)))


def losses(params, key, data, *, step=0):
    """Two tasks."""
    del key, step
    x, y = data
    errors = jnp.stack([jnp.square(x @ params["w"] - y).mean(), jnp.square(x @ params["w"] + 1 - y).mean()])
    return errors, {"loss": errors.mean()}


def test_a_weighted_loss_may_be_searched_along():
    weighting, optimizer = jmeta.weighting.equal_weighting(), optax.lbfgs()
    state = jmeta.init_state(PARAMS, optimizer, KEY, weighting=weighting, tasks=2)
    found, metrics = steps(jmeta.make_step(losses, optimizer, weighting=weighting), state, 10)
    solution = np.linalg.lstsq(np.concatenate([X, X]), np.concatenate([Y, Y - 1]), rcond=None)[0]
    np.testing.assert_allclose(found.params["w"], solution, rtol=1e-3)
    assert metrics["loss"].shape == ()


def test_behind_an_aggregation_there_is_a_value_and_no_function():
    surgery = jmeta.aggregate(jmeta.aggregation.sum(), optax.polyak_sgd())
    state = jmeta.init_state(PARAMS, surgery, KEY, tasks=2)
    found, _ = steps(jmeta.make_step(jmeta.joint_gradients(losses), surgery), state, 1)
    values = losses(PARAMS, KEY, (X, Y))[0]
    gradient = jax.grad(lambda params: losses(params, KEY, (X, Y))[0].sum())(PARAMS)
    size = jnp.minimum(1.0, values.mean() / optax.tree.norm(gradient, squared=True))
    # The rate of Polyak: the value over the square of the gradient.
    np.testing.assert_allclose(found.params["w"], PARAMS["w"] - size * gradient["w"], rtol=1e-5)
    searched = jmeta.aggregate(jmeta.aggregation.sum(), optax.lbfgs())
    with pytest.raises(ValueError, match=r"optimizer must do with what a step has, losses, present, key; .*value_fn"):
        steps(jmeta.make_step(jmeta.joint_gradients(losses), searched), jmeta.init_state(PARAMS, searched, KEY, tasks=2), 1)


def test_an_optimiser_that_asks_for_more_is_refused():
    def update(updates, state, params=None, *, hessian, **given):
        return jax.tree.map(lambda update: update / hessian, updates), state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    with pytest.raises(
        ValueError, match=r"optimizer must do with what a step has, value, grad, value_fn; got one that asks more:.*hessian"
    ):
        trained(optimizer, 1)


def running_mean():
    """An objective whose target is the running mean of all labels so far."""

    def init(params, key):
        del params
        return {"mean": jnp.zeros(()), "count": jnp.zeros(()), "noise": jax.random.uniform(key)}

    def loss(params, key, data, memory, *, step=0):
        del key, step
        count = memory["count"] + 1
        mean = memory["mean"] + (data[1].mean() - memory["mean"]) / count
        value = jnp.square(params["b"] - mean)
        return value, ({"loss": value, "mean": mean}, memory | {"mean": mean, "count": count})

    return jmeta.ObjectiveWithMemory(init, loss)


def numbers():
    return jmeta.Sampler((), lambda data, key: (jnp.zeros(()), jax.random.normal(key, (3,))))


def test_an_objective_remembers_what_a_loop_would_and_resumes_bit_for_bit(tmp_path):
    objective, optimizer, seen = running_mean(), optax.sgd(0.25), []
    state = jmeta.init_state({"b": jnp.zeros(())}, optimizer, KEY, objective=objective)

    def fit(directory, num_steps, *callbacks):
        step = jmeta.make_step(objective, optimizer)
        return jmeta.fit(
            step, state, numbers(), num_steps=num_steps, steps_per_chunk=1, directory=directory, resume=True, callbacks=callbacks
        ).state

    whole = fit(tmp_path / "whole", 6, lambda step, metrics, state: seen.append(metrics["mean"]))
    from jmeta._steps import step_keys

    labels = [float(numbers().sample((), step_keys(state._replace(step=jnp.int32(step)))[1])[1].mean()) for step in range(6)]
    bias, expected = 0.0, np.cumsum(labels) / np.arange(1, 7)
    for mean in expected:
        bias -= 0.25 * 2 * (bias - mean)
    # float32
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    np.testing.assert_allclose(whole.params["b"], bias, rtol=1e-5)
    assert float(whole.memory["count"]) == 6
    fit(tmp_path / "parts", 2)
    resumed = fit(tmp_path / "parts", 6)
    chex.assert_trees_all_equal(*(jax.tree.map(_plain, tree) for tree in (resumed, whole)))


def _plain(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_a_memory_keeps_its_shapes_and_gets_no_gradient():
    def loss(params, key, data, memory, *, step=0):
        # The memory depends on the parameters; the gradient must not see it.
        return (params["b"] - 1) ** 2, ({}, {"copy": params["b"]})

    objective, optimizer = jmeta.ObjectiveWithMemory(lambda params, key: {"copy": jnp.zeros(())}, loss), optax.sgd(0.5)
    state = jmeta.init_state(PARAMS, optimizer, KEY, objective=objective)
    found, _ = steps(jmeta.make_step(objective, optimizer), state, 1)
    assert float(found.params["b"]) == 1
    assert float(found.memory["copy"]) == 0
    growing = objective._replace(init=lambda params, key: {"copy": jnp.zeros(2)})
    with pytest.raises(
        ValueError, match=r"an objective must give a memory of the shapes that its init gave; got a state of shapes"
    ):
        steps(jmeta.make_step(objective, optimizer), jmeta.init_state(PARAMS, optimizer, KEY, objective=growing), 1)


def game(params, key, data, *, step=0):
    """Convex in x, concave in y, with its saddle at 0."""
    del key, data, step
    value = params["x"] ** 2 / 2 + params["x"] * params["y"] - params["y"] ** 2 / 2
    return value, {"loss": value}


def against(params, key, data, *, step=0):
    value, metrics = game(params, key, data, step=step)
    return -value, metrics


def test_phases_take_turns_each_with_its_own_optimiser():
    low, high = (jmeta.trainable(optax.sgd(rate), lambda path, name=name: path == name) for name, rate in (("x", 0.1), ("y", 0.2)))
    first, second = jmeta.make_step(game, low), jmeta.make_step(against, high)
    params = {"x": jnp.array(1.0), "y": jnp.array(-1.0)}
    state = jmeta.alternating_state(jmeta.init_state(params, low, KEY), jmeta.init_state(params, high, KEY))
    found, metrics = steps(jmeta.alternate((first, 1), (second, 3)), state, 20, data=())
    x, y = 1.0, -1.0
    for _ in range(20):
        x -= 0.1 * (x + y)
        for _ in range(3):
            y += 0.2 * (x - y)
    # float32, 80 steps
    np.testing.assert_allclose([found.params["x"], found.params["y"]], [x, y], rtol=1e-5)
    assert sorted(metrics) == ["loss", "phase_2/loss"]
    assert int(found.step) == 20


def test_phases_draw_different_randomness_in_every_repeat():
    def noisy(params, key, data, *, step=0):
        drawn = jax.random.uniform(key)
        return drawn * params["x"], {"loss": drawn}

    optimizer = optax.sgd(1.0)
    step = jmeta.make_step(noisy, optimizer)
    params = {"x": jnp.zeros(())}
    states = [jmeta.init_state(params, optimizer, KEY) for _ in range(2)]
    found = []
    for repeats in (1, 2, 3):
        state, _ = steps(jmeta.alternate((step, repeats), (step, 1)), jmeta.alternating_state(*states), 1, data=())
        found.append(float(state.params["x"]))
    # Each more repeat takes away another number between 0 and 1.
    differences = -np.diff(found)
    assert len({round(float(value), 6) for value in differences}) == 2
    assert (differences > 0).all()


def test_phases_that_do_not_fit_are_refused():
    step = jmeta.make_step(squared_distance, optax.sgd(0.1))
    for phases in ((), ((step, 0),)):
        with pytest.raises(ValueError, match="phases must be pairs of a step and how often it repeats, at least once; got"):
            jmeta.alternate(*phases)
    with pytest.raises(ValueError, match=r"state must be alternating_state\(...\) of 2 states, one for each phase"):
        jmeta.alternate((step, 1), (step, 1))(jmeta.init_state(PARAMS, optax.sgd(0.1), KEY), (X, Y))
    with pytest.raises(ValueError, match="states must hold one state for each phase; got none"):
        jmeta.alternating_state()
