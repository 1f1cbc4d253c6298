"""Predictions of episodes and of sets of examples, against loops; and the scores of multi-task models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from sklearn import metrics as reference

import jmeta

RANDOM = np.random.default_rng(0)
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


def classification():
    x = RANDOM.normal(size=(40, 3)).astype(np.float32) + np.repeat(np.arange(4), 10)[:, None]
    return jmeta.from_arrays(x, np.repeat(np.arange(4), 10), ways=2, shots=2, queries=3)


def learner(num_steps=1):
    return jmeta.maml(jmeta.from_linen(linen.Dense(2)), CROSS_ENTROPY, optax.sgd(0.1), num_steps=num_steps)


def initial(made, sampler):
    return made.init(jax.random.key(0), sampler.sample(sampler.data, jax.random.key(0)))


@pytest.mark.parametrize("num_steps", [None, 3])
def test_predictions_are_of_the_episodes_that_are_evaluated(num_steps):
    sampler, made = classification(), learner()
    params = initial(made, sampler)
    options = {"num_steps": num_steps, "episodes": 5, "seed": 3, "batch_size": 2}
    found = jmeta.predict_episodes(made, params, sampler, **options)
    evaluated = jmeta.evaluate(made, params, sampler, metric=jmeta.accuracy, **options)
    assert found.outputs.shape == (30, 2)
    right = (found.outputs.argmax(axis=1) == found.targets).astype(float)
    means = [right[found.tasks == task].mean() for task in range(5)]
    np.testing.assert_allclose(means, evaluated.values[:, -1], rtol=1e-6)
    assert found.weights.tolist() == [1] * 30


def test_masked_rows_have_no_weight_and_measures_leave_them_out():
    sampler, made = classification(), learner()
    padded = jmeta.Sampler(sampler.data, lambda data, key: jmeta.pad_episode(sampler.sample(data, key), support=6, query=9, ways=2))
    params = initial(made, sampler)
    plain, longer = (jmeta.predict_episodes(made, params, tasks, episodes=4) for tasks in (sampler, padded))
    assert longer.weights.sum() == plain.weights.sum() == 24
    np.testing.assert_allclose(longer.outputs[longer.weights > 0], plain.outputs, rtol=1e-5, atol=1e-6)
    measures = {"accuracy": jmeta.accuracy, "F1": jmeta.metrics.f1_score, "AUC": jmeta.metrics.roc_auc}
    one, other = (jmeta.measure(found, measures, resamples=20) for found in (plain, longer))
    for name in measures:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-6)
    assert one["F1"].mean == pytest.approx(
        reference.f1_score(plain.targets, plain.outputs.argmax(axis=1), average="macro"), rel=1e-12
    )


def test_steps_need_a_path():
    sampler, made = classification(), jmeta.prototypical_networks(jmeta.from_linen(linen.Dense(2)))
    for num_steps in (2, -1):
        with pytest.raises(ValueError, match="num_steps must be None, or at least 0 for a learner with a path; got"):
            jmeta.predict_episodes(made, initial(made, sampler), sampler, num_steps=num_steps)
    with pytest.raises(ValueError, match=r"num_steps must be a whole number of at least 0; got 1\.5"):
        jmeta.predict_episodes(learner(), {}, sampler, num_steps=1.5)


@pytest.mark.parametrize("batch_size", [3, 7, 20])
def test_a_batch_is_predicted_some_rows_at_a_time(batch_size):
    model = jmeta.from_linen(linen.Dense(2))
    x = {"values": RANDOM.normal(size=(7, 3)).astype(np.float32), "scale": np.full((7, 1), 2.0, np.float32)}

    def apply(params, x, *, mask=None):
        del mask
        return {"a": model.apply(params, x["values"]) * x["scale"], "b": x["scale"]}

    params = model.init(jax.random.key(0), x["values"])
    mask = np.arange(7) < 5
    x["values"][6] = np.nan
    found = jmeta.predict_batch(apply, params, jmeta.Batch(x, np.zeros(7), mask), batch_size=batch_size)
    expected = 2 * (x["values"][:5] @ np.asarray(params["kernel"]) + np.asarray(params["bias"])[None])
    # float32: sums of three products, which may cancel
    np.testing.assert_allclose(found.outputs["a"][:5], expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(found.outputs["a"]).all()
    assert found.outputs["b"].shape == (7, 1)
    assert found.weights.tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert jmeta.predict_batch(apply, params, jmeta.Batch(x, np.zeros(7)), batch_size=batch_size).weights is None
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1; got 0"):
        jmeta.predict_batch(apply, params, jmeta.Batch(x, np.zeros(7)), batch_size=0)


def heads():
    return {
        "age": jmeta.Task(jmeta.from_linen(linen.Dense(1)), jmeta.squared_error),
        "species": jmeta.Task(jmeta.from_linen(linen.Dense(3)), CROSS_ENTROPY),
    }


MEASURES = {
    "age": {"R2": jmeta.metrics.r2_score, "absolute error": jmeta.absolute_error},
    "species": {"accuracy": jmeta.accuracy, "recall": jmeta.metrics.recall},
}


def test_every_task_is_scored_by_every_metric_of_it():
    model = jmeta.hard_parameter_sharing(jmeta.from_linen(linen.Dense(4)), heads())
    x = RANDOM.normal(size=(50, 5)).astype(np.float32)
    y = {"age": RANDOM.normal(size=(50, 1)).astype(np.float32), "species": RANDOM.integers(0, 3, 50)}
    weights = {"age": (RANDOM.random(50) < 0.7) * 1.0, "species": np.ones(50)}
    y["age"][weights["age"] == 0] = np.nan
    joint = jmeta.Batch(x, y, None, weights)
    params = model.init(jax.random.key(0), joint)
    found = jmeta.evaluate_tasks(model, params, joint, MEASURES, batch_size=16, resamples=50)
    there = weights["age"] > 0
    ages, species = (np.asarray(model.predict(params, name, x)) for name in ("age", "species"))
    expected = {
        ("age", "R2"): reference.r2_score(y["age"][there], ages[there]),
        ("age", "absolute error"): np.abs(y["age"] - ages)[there].mean(),
        ("species", "accuracy"): (species.argmax(axis=1) == y["species"]).mean(),
        ("species", "recall"): reference.recall_score(y["species"], species.argmax(axis=1), average="macro"),
    }
    for (task, name), value in expected.items():
        # float32 predictions, 16 at a time
        assert found[task][name].mean == pytest.approx(value, rel=1e-5)
        assert found[task][name].half_width > 0
    parts = {name: jmeta.Batch(x, y[name], None, weights[name]) for name in model.names}
    assert jmeta.evaluate_tasks(model, params, parts, MEASURES, batch_size=16, resamples=50) == found


def test_data_and_metrics_name_the_tasks():
    model = jmeta.hard_parameter_sharing(jmeta.from_linen(linen.Dense(4)), heads())
    batch = jmeta.Batch(jnp.ones((4, 5)), {"age": jnp.ones((4, 1)), "species": jnp.zeros(4, int)})
    params = model.init(jax.random.key(0), batch)
    with pytest.raises(
        ValueError, match=r"metrics must be a mapping with an entry for each of \['age', 'species'\]; got \['age'\]"
    ):
        jmeta.evaluate_tasks(model, params, batch, {"age": MEASURES["age"]})
    with pytest.raises(ValueError, match=r"data must be a mapping with an entry for each of \['age', 'species'\]; got \['size'\]"):
        jmeta.evaluate_tasks(model, params, {"size": batch}, MEASURES)
