"""What is measured in a training step is that of the step, and leaves the training as it is."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta

OPTIMIZER = optax.sgd(0.1)


def objective(params, key, data, *, step=0):
    value = jnp.sum(jnp.square(params - data - jax.random.normal(key, params.shape))) + step
    return value, {"loss": value}


def measurement(params, key, data, *, step):
    return jnp.stack([objective(params, key, data, step=step)[0], params.sum()])


def start():
    return jmeta.init_state(jnp.array([1.0, -2.0]), OPTIMIZER, jax.random.key(3))


def trained(step, num_steps):
    """The states before each step and the metrics of it."""
    step, state, found = jax.jit(step), start(), []
    for index in range(num_steps):
        before, (state, metrics) = state, step(state, jnp.full(2, float(index)))
        found.append((before, metrics))
    return state, found


@pytest.mark.parametrize("every", [1, 2])
def test_a_measurement_is_of_the_parameters_the_key_and_the_data_of_its_step_and_changes_nothing(every):
    plain, _ = trained(jmeta.make_step(objective, OPTIMIZER), 5)
    measured = jmeta.with_measurements(jmeta.make_step(objective, OPTIMIZER), {"seen": measurement}, every=every)
    state, found = trained(measured, 5)
    chex.assert_trees_all_equal(state.params, plain.params)
    for index, (before, metrics) in enumerate(found):
        if index % every:
            assert np.isnan(metrics["seen"]).all()
        else:
            # Compiled beside the step and within a branch: one rounding more or less.
            np.testing.assert_allclose(metrics["seen"], [metrics["loss"], before.params.sum()], rtol=1e-5)


def test_fit_averages_over_the_steps_that_were_measured():
    step = jmeta.with_measurements(jmeta.make_step(objective, OPTIMIZER), {"seen": measurement}, every=2)
    lines = []
    jmeta.fit(step, start(), lambda index: jnp.full(2, float(index)), num_steps=5, callbacks=[lambda *line: lines.append(line)])
    _, found = trained(step, 5)
    expected = np.mean([metrics["seen"] for _, metrics in found[::2]], axis=0)
    np.testing.assert_allclose(lines[0][1]["seen"], expected, rtol=1e-6)


def test_what_cannot_be_measured_is_refused():
    step = jmeta.make_step(objective, OPTIMIZER)
    with pytest.raises(ValueError, match="every must be at least 1 step; got 0"):
        jmeta.with_measurements(step, {}, every=0)
    with pytest.raises(ValueError, match=r"measurements must have names of their own; got \['loss'\]"):
        jax.eval_shape(jmeta.with_measurements(step, {"loss": measurement}), start(), jnp.ones(2))
