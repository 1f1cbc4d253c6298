"""Settings side by side against the same trainings one after another."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta._reporting import read_metrics

RATES = [0.05, 0.2, 0.4]


def numbers():
    return jmeta.Sampler((), lambda data, key: jax.random.normal(key))


def trial(rate, power=2.0, traces=None):
    """Descends on the distance from noisy numbers; the validation is the distance from 1."""

    def objective(params, key, data, *, step=0):
        del key, step
        if traces is not None:
            traces.append(rate)
        value = jnp.abs(params["w"] - 1 - 0.1 * data) ** power
        return value, {"loss": value}

    optimizer = optax.sgd(rate)
    return jmeta.Trial(
        jmeta.make_step(objective, optimizer),
        lambda key: jmeta.init_state({"w": jax.random.normal(key)}, optimizer, key),
        lambda params: {"loss": jnp.abs(params["w"] - 1)},
    )


def alone(made, seed, num_steps=20):
    return jmeta.fit(
        made.step, made.init(jax.random.key(seed)), numbers(), num_steps=num_steps, steps_per_chunk=5, validation=made.validation
    )


def test_a_sweep_is_as_many_trainings():
    traces = []
    found = jmeta.sweep(
        lambda rate: trial(rate, traces=traces), {"rate": RATES}, numbers(), num_steps=20, seeds=2, steps_per_chunk=5
    )
    assert len(traces) == 1
    expected = [[alone(trial(rate), seed).best for seed in range(2)] for rate in RATES]
    # float32: a step of several trainings is rounded otherwise than that of one
    np.testing.assert_allclose(found.losses, [[best.loss for best in row] for row in expected], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.steps, [[best.step for best in row] for row in expected])
    assert found.values == tuple({"rate": rate} for rate in RATES)
    assert found.chosen == found.losses.mean(axis=1).argmin()
    np.testing.assert_allclose(found.params["w"], [best.params["w"] for best in expected[found.chosen]], rtol=1e-5)
    assert found.estimates == tuple(map(jmeta.estimate, found.losses))


def test_every_combination_is_tried_and_counts_are_programs_of_their_own():
    seen = []

    def with_count(rate, repeats):
        seen.append(repeats)
        made = trial(rate)
        return made._replace(
            step=jmeta.alternate(*[(made.step, repeats)]), init=lambda key: jmeta.alternating_state(made.init(key))
        )

    found = jmeta.sweep(with_count, {"rate": [0.05, 0.1], "repeats": [1, 3]}, numbers(), num_steps=5)
    assert found.values == tuple({"rate": rate, "repeats": count} for rate, count in itertools.product([0.05, 0.1], [1, 3]))
    assert set(seen) == {1, 3}
    assert all(isinstance(count, int) for count in seen)
    # Three steps of a rate come nearer than one.
    assert (found.losses[1::2] < found.losses[::2]).all()


def test_where_a_number_must_be_known_settings_take_turns():
    traces = []

    def picky(rate):
        if rate > 10:
            raise AssertionError("never")
        return trial(rate, traces=traces)

    found = jmeta.sweep(picky, {"rate": RATES}, numbers(), num_steps=20, seeds=2, steps_per_chunk=5)
    assert traces == RATES
    together = jmeta.sweep(trial, {"rate": RATES}, numbers(), num_steps=20, seeds=2, steps_per_chunk=5)
    np.testing.assert_allclose(found.losses, together.losses, rtol=1e-4, atol=1e-6)


def test_fewer_may_run_at_once():
    options = {"num_steps": 20, "steps_per_chunk": 5}
    traces = []
    found = jmeta.sweep(lambda rate: trial(rate, traces=traces), {"rate": RATES}, numbers(), **options, at_once=2)
    assert len(traces) == 2
    np.testing.assert_allclose(found.losses, jmeta.sweep(trial, {"rate": RATES}, numbers(), **options).losses, rtol=1e-4, atol=1e-6)


def test_a_setting_that_diverges_stops_no_other():
    options = {"num_steps": 30, "steps_per_chunk": 5, "seeds": 2}
    found = jmeta.sweep(lambda rate: trial(rate, 4.0), {"rate": [0.05, 1e3]}, numbers(), **options)
    expected = jmeta.sweep(lambda rate: trial(rate, 4.0), {"rate": [0.05]}, numbers(), **options)
    np.testing.assert_allclose(found.losses[0], expected.losses[0], rtol=1e-4, atol=1e-6)
    assert found.chosen == 0
    with pytest.raises(FloatingPointError, match="no setting had a finite validation loss with every seed"):
        jmeta.sweep(
            lambda rate: trial(rate)._replace(validation=lambda params: {"loss": jnp.nan}), {"rate": [0.1]}, numbers(), num_steps=5
        )


def test_what_has_been_trained_is_not_trained_again(tmp_path):
    options = {"num_steps": 20, "steps_per_chunk": 5, "directory": tmp_path}
    first = jmeta.sweep(trial, {"rate": RATES}, numbers(), **options)
    lines = read_metrics(tmp_path / "program-0")
    assert [len(line["loss"]) for line in lines] == [3] * 4
    traces = []
    again = jmeta.sweep(lambda rate: trial(rate, traces=traces), {"rate": RATES}, numbers(), **options)
    assert traces == []
    np.testing.assert_array_equal(again.losses, first.losses)


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        ({}, {}, "values must name at least one value for each argument; got {}"),
        ({"rate": []}, {}, "values must name at least one value for each argument"),
        ({"rate": [0.1]}, {"seeds": 0}, "seeds must be a whole number of at least 1; got 0"),
        ({"rate": [0.1]}, {"at_once": 0}, "at_once must be a whole number of at least 1; got 0"),
    ],
)
def test_nothing_to_try_is_refused(values, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.sweep(trial, values, numbers(), num_steps=5, **options)


def test_a_learner_is_swept_with_its_validator():
    model = jmeta.Model(lambda key, x: jax.random.normal(key, (1, 1)), lambda params, x, *, key=None, mask=None: x @ params)
    tasks, optimizer = jmeta.sinusoid(shots=3, queries=3), optax.sgd(1e-3)

    def made(inner_rate):
        learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(inner_rate))
        return jmeta.Trial(
            jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer),
            lambda key: jmeta.init_state(learner.init(key, tasks.sample(tasks.data, key)), optimizer, key),
            jmeta.validator(learner, tasks, metric=jmeta.squared_error, episodes=4),
        )

    found = jmeta.sweep(made, {"inner_rate": [0.001, 0.01]}, jmeta.batch_tasks(tasks, 2), num_steps=4)
    expected = [alone_learner(made(rate), jmeta.batch_tasks(tasks, 2)) for rate in (0.001, 0.01)]
    np.testing.assert_allclose(found.losses[:, 0], expected, rtol=1e-4)


def alone_learner(made, tasks):
    return jmeta.fit(made.step, made.init(jax.random.key(0)), tasks, num_steps=4, validation=made.validation).best.loss


def test_a_validation_on_the_host_sees_what_a_compiled_one_sees():
    seen = []

    def on_host(rate):
        def validation(params):
            # What no compiled program can do.
            seen.append(float(params["w"]))
            return {"loss": abs(seen[-1] - 1)}

        return trial(rate)._replace(validation=validation, on_host=True)

    options = {"num_steps": 20, "seeds": 2, "steps_per_chunk": 5}
    found, expected = (jmeta.sweep(made, {"rate": RATES}, numbers(), **options) for made in (on_host, trial))
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(found.steps, expected.steps)
    assert found.chosen == expected.chosen
    # Three rates with two seeds, after each of four chunks.
    assert len(seen) == 24


def test_a_validation_on_the_host_does_not_choose_what_has_diverged():
    def on_host(rate):
        return trial(rate, power=4.0)._replace(validation=lambda params: {"loss": 0.5}, on_host=True)

    found = jmeta.sweep(on_host, {"rate": [0.2, 1e30]}, numbers(), num_steps=20)
    assert found.losses.tolist() == [[0.5], [np.inf]]
