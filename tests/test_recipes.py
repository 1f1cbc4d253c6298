"""From names and options to parts: the table, config.json, load, and the baseline."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jmeta._cli.baseline import baseline_config, fine_tuning_rate, sinusoid_references
from jmeta._cli.catalogue import LEARNERS, MEANINGLESS, TASKS, default_config
from jmeta._cli.config import CONFIG, write_config
from jmeta._cli.recipes import build, read_config

import jmeta
from jmeta import checkpointing
from jmeta._cli import options
from jmeta.nn import MultilayerPerceptron

PAIRS = [(learner, tasks) for learner in LEARNERS for tasks in TASKS if (learner, tasks) not in MEANINGLESS]
SECTIONS = ("learner", "tasks", "test", "network", "training", "evaluation")
OPTIONS = [kind for kind in vars(options).values() if dataclasses.is_dataclass(kind)]


def changed(config, **values):
    """Sets options wherever they are."""
    for section in SECTIONS:
        names = {field.name for field in dataclasses.fields(getattr(config, section))} & set(values)
        part = dataclasses.replace(getattr(config, section), **{name: values[name] for name in names})
        config = dataclasses.replace(config, **{section: part})
    return config


def tiny(learner="maml", **values):
    small = {"hidden": (4, 4), "shots": 3, "queries": 2, "evaluation_shots": 2, "evaluation_queries": 3, "evaluation_steps": 2}
    return dataclasses.replace(changed(default_config(learner, "sinusoid"), **small | values), baseline=False)


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_option_says_what_it_is(kind):
    for field in dataclasses.fields(kind):
        assert f"\n  {field.name}: " in kind.__doc__.replace("\n      ", "\n  "), field.name


@pytest.mark.parametrize("pair", PAIRS)
def test_no_two_options_of_a_run_have_one_name(pair):
    config = default_config(*pair)
    names = [field.name for section in SECTIONS for field in dataclasses.fields(getattr(config, section))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("pair", PAIRS)
def test_config_comes_back_from_its_file(pair, tmp_path):
    config = changed(default_config(*pair), seed=7, learning_rate=1)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda found: found.pop("training"), "lacks training"),
        (lambda found: found["learner"].pop("inner_rate"), "learner, lacks inner_rate"),
        (lambda found: found.update(extra=1), "unknown extra"),
        (lambda found: found["training"].update(step=5), "training, holds the unknown step"),
        (lambda found: found["training"].update(steps="many"), "training, must hold int as steps; got 'many'"),
        (lambda found: found["training"].update(steps=True), "as steps; got True"),
        (lambda found: found["training"].update(schedule="square"), "as schedule; got 'square'"),
        (lambda found: found["network"].update(hidden=[40, "x"]), "as hidden; got"),
        (lambda found: found.update(evaluation=3), "evaluation, must hold options by name; got 3"),
        (lambda found: found.update(learner_name="mamll"), "'mamll'"),
        (lambda found: found.update(learner_name=["maml"]), "TypeError"),
    ],
)
def test_damaged_config_is_named(damage, words, tmp_path):
    write_config(tmp_path, default_config("maml", "sinusoid"))
    found = json.loads((tmp_path / CONFIG).read_text())
    damage(found)
    (tmp_path / CONFIG).write_text(json.dumps(found))
    with pytest.raises(ValueError, match=CONFIG) as error:
        read_config(tmp_path)
    assert words in str(error.value)


def test_cut_config_is_named_and_a_missing_one_too(tmp_path):
    write_config(tmp_path, default_config("maml", "sinusoid"))
    text = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=CONFIG):
        jmeta.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        jmeta.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"inner_rate": math.inf},
        {"inner_steps": -1},
        {"hidden": ()},
        {"hidden": (40, 0)},
        {"seed": 2**40},
        {"tasks_per_step": 0},
        {"micro_batch": 0},
    ],
)
def test_an_option_out_of_range_is_named(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        build(tiny(**values))


@pytest.mark.parametrize("pair", sorted(MEANINGLESS))
def test_a_pair_without_meaning_says_why(pair):
    with pytest.raises(ValueError, match="has no meaning: "):
        default_config(*pair)


def test_only_prototypical_networks_are_tested_with_other_ways():
    with pytest.raises(ValueError, match="evaluation_ways"):
        build(changed(default_config("maml", "omniglot"), evaluation_ways=20))


def test_one_step_learners_take_no_evaluation_steps():
    with pytest.raises(ValueError, match="evaluation_steps"):
        build(changed(default_config("prototypical_networks", "omniglot"), evaluation_steps=5))


def test_a_baseline_needs_sinusoids():
    with pytest.raises(ValueError, match="baseline"):
        build(dataclasses.replace(default_config("maml", "omniglot"), baseline=True))


def test_sinusoid_network_is_that_of_the_paper():
    body, head = TASKS["sinusoid"].network(options.PerceptronOptions(), 1)
    x = jax.random.normal(jax.random.key(1), (5, 1))
    params = jmeta.compose(body, head).init(jax.random.key(0), x)
    (layers,) = params.encoder.values()
    whole = {**layers, "Dense_2": params.head["Dense_0"]}
    expected = jmeta.from_linen(MultilayerPerceptron((40, 40, 1))).apply(whole, x)
    # The same sums in float32.
    np.testing.assert_allclose(jmeta.compose(body, head).apply(params, x), expected, rtol=1e-6)


BY_HAND = {
    "maml": lambda parts: jmeta.maml(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2),
    "fomaml": lambda parts: jmeta.maml(
        jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2, adjoint=jmeta.first_order()
    ),
    "anil": lambda parts: jmeta.anil(parts, jmeta.squared_error, optax.sgd(0.3), num_steps=2),
    "reptile": lambda parts: jmeta.reptile(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2),
    "pretraining": lambda parts: jmeta.maml(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_name_builds_the_learner_that_it_names(name):
    recipe = build(tiny(name, inner_rate=0.3, inner_steps=2, fine_tuning_rate=0.3))
    by_hand = BY_HAND[name](TASKS["sinusoid"].network(options.PerceptronOptions((4, 4)), 1))
    episode = recipe.test.sample(recipe.test.data, jax.random.key(3))

    def gradient(learner):
        return jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(recipe.state.params, jax.random.key(4), episode)

    found, expected = jax.tree.leaves(gradient(recipe.learner)), jax.tree.leaves(gradient(by_hand))
    # The same program.
    assert all(np.array_equal(left, right) for left, right in zip(found, expected, strict=True))


def test_validation_tasks_are_no_test_tasks():
    recipe = build(tiny())
    tasks = [sampler.sample(sampler.data, jax.random.key(0)).support.x for sampler in (recipe.validation, recipe.test)]
    assert not np.isin(*tasks).any()


@pytest.mark.parametrize(("loss", "expected"), [(0.5, "best"), (math.inf, "last")])
def test_load_gives_the_best_parameters_or_the_last(loss, expected, tmp_path):
    config = tiny()
    write_config(tmp_path, config)
    state = build(config).state
    best = jax.tree.map(lambda leaf: leaf + 1, state.params)
    checkpointing.save(tmp_path / "checkpoints", 3, (state, jmeta.Best(best, state.step, jnp.asarray(loss))))
    learner, params = jmeta.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, params, {"best": best, "last": state.params}[expected])
    assert learner.path is not None


def test_baseline_shares_all_but_the_learner():
    config = tiny()
    baseline = baseline_config(config)
    assert baseline.learner_name == "pretraining"
    assert all(getattr(baseline, name) == getattr(config, name) for name in SECTIONS[1:])


def test_fine_tuning_rate_is_the_best_of_a_loop_over_rates_and_tasks():
    rates = (1e-4, 0.05, 1e6)
    config = tiny("pretraining", fine_tuning_rates=rates, validation_episodes=4)
    recipe = build(config)
    model = jmeta.compose(*TASKS["sinusoid"].network(config.network, 1))
    losses = []
    for rate in rates:
        learner, total = jmeta.maml(model, jmeta.squared_error, optax.sgd(rate)), 0.0
        path = jax.jit(lambda params, support, learner=learner: learner.path(params, jax.random.key(0), support, 2))
        for key in jax.random.split(jax.random.key(config.training.seed), 4):
            episode = recipe.validation.sample(recipe.validation.data, jax.random.split(key)[0])
            adapted = path(recipe.state.params, episode.support)
            for step in (1, 2):
                outputs = model.apply(jax.tree.map(lambda leaf, step=step: leaf[step], adapted), episode.query.x)
                total += float(jnp.square(outputs - episode.query.y).mean())
        losses.append(total if math.isfinite(total) else math.inf)
    # The loop can tell them apart, and the last rate diverges.
    assert losses[2] > 1e3 * min(losses)
    assert abs(losses[0] - losses[1]) > 1e-2 * losses[0]
    assert fine_tuning_rate(config, recipe.validation, recipe.state.params) == rates[int(np.argmin(losses))]


def test_references_are_what_numerical_integration_gives():
    def midpoints(low, high, count=400):
        return low + (np.arange(count) + 0.5) * (high - low) / count

    x, amplitude, phase = midpoints(-5, 5), midpoints(0.1, 5), midpoints(0, math.pi)
    waves = np.sin(x[:, None] - phase[None])
    mean_wave, square = amplitude.mean() * waves.mean(axis=1), (amplitude**2).mean() * (waves**2).mean()
    references = sinusoid_references()
    # The midpoint rule with 400 points errs by less than 1e-4 here; the functions are computed in float32.
    (zero, expected_zero), (best, expected_best) = references["predicting zero"], references["best function of x alone"]
    assert expected_zero == pytest.approx(square, rel=1e-4)
    assert expected_best == pytest.approx(square - (mean_wave**2).mean(), rel=1e-4)
    inputs = jnp.asarray(x[:, None], jnp.float32)
    np.testing.assert_array_equal(zero.predict((), None, inputs), np.zeros((400, 1)))
    np.testing.assert_allclose(best.predict((), None, inputs)[:, 0], mean_wave, atol=1e-4)
