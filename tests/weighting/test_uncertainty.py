"""Uncertainty weighting against Kendall's joint sum, and what a weighting costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta

KEY = jax.random.key(0)


def objective(params, key, data, *, step=0):
    del key, step
    value = jnp.square(jnp.tanh(params["w"] * data).sum() - 1)
    return value, {"loss": value}


def kendall(params, log_variances, data, factors):
    losses = jax.vmap(lambda row: objective(params, KEY, row)[0])(data)
    return (factors * losses * jnp.exp(-log_variances) + log_variances / 2).sum()


@pytest.mark.parametrize(("classification", "factors"), [(None, [0.5, 0.5, 0.5]), ((True, False, True), [1.0, 0.5, 1.0])])
def test_one_step_descends_the_joint_sum_in_parameters_and_log_variances(x64, classification, factors):
    data = jax.random.normal(KEY, (3, 2))
    params, start = {"w": jnp.array([0.3, -0.8])}, 0.4
    weighting = jmeta.uncertainty_weighting(optax.sgd(0.05), classification=classification, initial=start)
    step = jax.jit(jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=weighting))
    state, metrics = step(jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=3), data)
    by_params, by_variances = jax.grad(kendall, argnums=(0, 1))(params, jnp.full(3, start), data, jnp.array(factors))
    np.testing.assert_allclose(state.params["w"], params["w"] - 0.1 * by_params["w"], rtol=1e-10)
    np.testing.assert_allclose(state.memory.log_variances, start - 0.05 * by_variances, rtol=1e-10)
    assert set(metrics) == {"loss"}


def test_log_variances_reach_the_stationary_point_of_constant_losses(x64):
    """d/ds of L / (2 e^s) + s / 2 vanishes at s = log L, for a classification at s = log 2 L."""
    weighting = jmeta.uncertainty_weighting(optax.sgd(0.5), classification=(False, True))
    losses = jnp.array([0.5, 2.0])
    given = {"present": jnp.ones(2, bool), "key": KEY, "pullback": None}

    def body(state, _):
        return weighting.weigh(state, losses, **given)[1], None

    state, _ = jax.lax.scan(body, weighting.init(2), None, length=500)
    np.testing.assert_allclose(state.log_variances, np.log([0.5, 4.0]), rtol=1e-10)


def test_equal_weights_are_the_sum(x64):
    data = jax.random.normal(KEY, (3, 2))
    params = {"w": jnp.array([0.3, -0.8])}
    weighting = jmeta.equal_weighting()
    step = jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=weighting)
    state, _ = step(jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=3), data)
    gradient = jax.grad(lambda params: sum(objective(params, KEY, row)[0] for row in data))(params)
    np.testing.assert_allclose(state.params["w"], params["w"] - 0.1 * gradient["w"], rtol=1e-12)


def test_float32_losses_may_be_weighted_under_x64(x64):
    data = jax.random.normal(KEY, (3, 2), jnp.float32)
    weighting = jmeta.uncertainty_weighting(optax.sgd(0.05))
    params = {"w": jnp.array([0.3, -0.8], jnp.float32)}
    step = jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=weighting)
    state, _ = step(jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=3), data)
    assert state.params["w"].dtype == jnp.float32


def test_classification_must_name_every_task():
    weighting = jmeta.uncertainty_weighting(optax.sgd(0.1), classification=(True, False))
    with pytest.raises(ValueError, match="classification must have one entry per task; got 2 for 3 tasks"):
        weighting.init(3)


def test_observed_losses_are_those_after_the_step():
    """A weighting that keeps what it observes."""
    keep = jmeta.Weighting(
        jnp.zeros,
        lambda state, losses, *, present, key, pullback: (jnp.ones_like(losses), state),
        lambda state, after, *, present: after,
    )
    data, params = jax.random.normal(KEY, (3, 2)), {"w": jnp.array([0.3, -0.8])}
    step = jax.jit(jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=keep))
    state, _ = step(jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=keep, tasks=3), data)
    # Two programs may round differently.
    np.testing.assert_allclose(state.memory, [objective(state.params, KEY, row)[0] for row in data], rtol=1e-5)


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_a_weighting_costs_one_backward_pass():
    """Two tasks on one encoder: the forward pass and two products per layer backwards, against two backward passes."""
    width, rows = 128, 64

    def encoder_apply(params, x, *, key=None, mask=None):
        for weights in params:
            x = jnp.tanh(x @ weights)
        return x

    encoder = jmeta.Model(lambda key, x: [jnp.eye(width)] * 4, encoder_apply)
    head = jmeta.Model(lambda key, x: jnp.ones((width, 1)), lambda params, x, *, key=None, mask=None: x @ params)
    task = jmeta.Task(head, jmeta.squared_error)
    model = jmeta.hard_parameter_sharing(encoder, {"a": task, "b": task})
    x, y = jnp.ones((rows, width)), {"a": jnp.ones((rows, 1)), "b": jnp.zeros((rows, 1))}
    batch = jmeta.Batch(x, y)
    params = model.init(KEY, {name: jmeta.Batch(x, y[name]) for name in y})

    weighting = jmeta.uncertainty_weighting(optax.sgd(0.05))
    state = jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=2)
    weighted = flops(jmeta.make_step(model.joint_losses, optax.sgd(0.1), weighting=weighting), state, batch)
    total = lambda params, key, batch, *, step=0: (model.joint_losses(params, key, batch)[0].sum(), {})  # noqa: E731
    plain = flops(jmeta.make_step(total, optax.sgd(0.1)), jmeta.init_state(params, optax.sgd(0.1), KEY), batch)
    stacked = flops(jax.jacrev(lambda params: model.joint_losses(params, KEY, batch)[0]), params)
    # Everything but the encoder's products is a few percent; a second backward pass makes 5 products per layer of 3.
    assert weighted < 1.05 * plain
    assert stacked > 1.5 * weighted
