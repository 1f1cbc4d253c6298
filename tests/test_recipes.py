"""From names and options to parts: the table, config.json, load, and the baseline."""

import ast
import dataclasses
import json
import math
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import checkpointing
from jmeta._catalogue.baseline import baseline_config, fine_tuning_rate
from jmeta._catalogue.config import CONFIG, read_config, write_config
from jmeta._catalogue.networks import PerceptronOptions, perceptron
from jmeta._catalogue.options import SECTIONS, values_of, with_values
from jmeta._catalogue.recipes import build, setting_of
from jmeta._catalogue.runs import divergence
from jmeta._catalogue.sinusoid import references
from jmeta._catalogue.tables import FAMILIES, METHODS, PROBLEMS, default_config, solves
from jmeta.nn import MultilayerPerceptron

PACKAGE = Path(jmeta.__file__).parent
PAIRS = [(method, problem) for method in METHODS for problem in PROBLEMS if solves(method, problem)]


def tiny(method="maml", **values):
    small = {"hidden": (4, 4), "shots": 3, "queries": 2, "evaluation_shots": 2, "evaluation_queries": 3, "evaluation_steps": 2}
    return dataclasses.replace(with_values(default_config(method, "sinusoid"), **small | values), baseline=False)


def parts_of(options):
    """The classes of options, those of their parts included."""
    yield type(options)
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(value := getattr(options, field.name)):
            yield from parts_of(value)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_run_one_way():
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        found = [module for module in imports_of(path) if module.startswith("jmeta._cli")]
        assert not found or place.startswith("_cli/") or place == "__main__.py", place
        found = [module for module in imports_of(path) if module.startswith("jmeta._catalogue")]
        assert not found or place.startswith(("_cli/", "_catalogue/")) or place == "_public.py", place


def test_a_row_of_a_method_is_at_most_15_lines():
    rows = 0
    for path in (PACKAGE / "_catalogue").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Dict)
                and getattr(node.targets[0], "id", "") == "METHODS"
            ):
                for row in node.value.values:
                    rows += 1
                    assert row.end_lineno - row.lineno < 15, f"{path.name}, line {row.lineno}"
    assert rows == len(METHODS)


def test_every_name_is_of_one_family():
    assert sum(map(len, FAMILIES.values())) == len(METHODS)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_option_says_what_it_is(pair):
    config = default_config(*pair)
    for kind in (kind for section in (*SECTIONS, "data") for kind in parts_of(getattr(config, section))):
        for field in dataclasses.fields(kind):
            if not dataclasses.is_dataclass(getattr(kind(), field.name)):
                assert f"\n  {field.name}: " in kind.__doc__.replace("\n      ", "\n  "), field.name


@pytest.mark.parametrize("pair", PAIRS)
def test_no_two_options_of_a_run_have_one_name(pair):
    config = default_config(*pair)
    names = [name for section in SECTIONS for name, _ in values_of(getattr(config, section))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("pair", PAIRS)
def test_config_comes_back_from_its_file(pair, tmp_path):
    config = with_values(default_config(*pair), seed=7, learning_rate=1)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_options_are_set_by_name_wherever_they_are():
    config = with_values(default_config("imaml", "sinusoid"), damping=3.0, inner_rate=0.5, hidden=(7,))
    assert (config.method.proximal.damping, config.method.descent.inner_rate, config.network.hidden) == (3.0, 0.5, (7,))
    with pytest.raises(ValueError, match="maml on sinusoid has no option named damping, wayz"):
        with_values(default_config("maml", "sinusoid"), damping=3.0, wayz=2, steps=1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda found: found.pop("training"), "lacks training"),
        (lambda found: found["method"].pop("inner_rate"), "method, lacks inner_rate"),
        (lambda found: found.update(extra=1), "unknown extra"),
        (lambda found: found["training"].update(step=5), "training, holds the unknown step"),
        (lambda found: found["training"].update(steps="many"), "training, must hold int as steps; got 'many'"),
        (lambda found: found["training"].update(steps=True), "as steps; got True"),
        (lambda found: found["training"].update(schedule="square"), "as schedule; got 'square'"),
        (lambda found: found["network"].update(hidden=[40, "x"]), "as hidden; got"),
        (lambda found: found.update(evaluation=3), "evaluation, must hold options by name; got 3"),
        (lambda found: found.update(method_name="mamll"), "'mamll'"),
        (lambda found: found.update(method_name=["maml"]), "no method named ['maml']"),
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


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (
            ("prototypical_networks", "sinusoid"),
            "prototypical_networks solves few-shot classification; sinusoid is few-shot regression",
        ),
        (("pretraining", "omniglot"), "pretraining solves few-shot regression; omniglot is few-shot classification"),
        (("mamll", "omniglot"), "no method named 'mamll'; did you mean 'maml'"),
        (("maml", "sinusiod"), "no problem named 'sinusiod'; did you mean 'sinusoid'"),
    ],
)
def test_a_pair_without_meaning_says_why(pair, sentence):
    assert not solves(*pair) if pair[0] in METHODS and pair[1] in PROBLEMS else True
    with pytest.raises(ValueError, match=sentence):
        default_config(*pair)


def test_other_ways_in_testing_are_a_property_of_the_row():
    for name in METHODS:
        if not solves(name, "omniglot"):
            continue
        config = with_values(default_config(name, "omniglot"), ways=5, evaluation_ways=20)
        if METHODS[name].any_ways:
            assert (setting_of(config).outputs, setting_of(config).test_outputs) == (5, 20)
        else:
            with pytest.raises(ValueError, match=f"evaluation_ways must be the ways of training for {name}; got 20, expected 5"):
                build(config)


def test_one_step_learners_take_no_evaluation_steps():
    config = with_values(default_config("prototypical_networks", "omniglot"), evaluation_steps=5)
    with pytest.raises(ValueError, match="evaluation_steps must be 0 for prototypical_networks"):
        build(config)


def test_a_baseline_needs_a_regression():
    with pytest.raises(ValueError, match="baseline must be false for maml on omniglot"):
        build(dataclasses.replace(default_config("maml", "omniglot"), baseline=True))


@pytest.mark.parametrize("episodes", [1, 0])
def test_an_interval_needs_two_test_tasks(episodes):
    with pytest.raises(ValueError, match="episodes must be"):
        build(tiny(episodes=episodes))


def test_sinusoid_network_is_that_of_the_paper():
    body, head = perceptron(PerceptronOptions(), 1)
    x = jax.random.normal(jax.random.key(1), (5, 1))
    params = jmeta.compose(body, head).init(jax.random.key(0), x)
    (layers,) = params.encoder.values()
    whole = {**layers, "Dense_2": params.head["Dense_0"]}
    expected = jmeta.from_linen(MultilayerPerceptron((40, 40, 1))).apply(whole, x)
    # The same sums in float32.
    np.testing.assert_allclose(jmeta.compose(body, head).apply(params, x), expected, rtol=1e-6)


RATE = {"inner_rate": 0.3, "inner_steps": 2}
BY_HAND = {
    "maml": (RATE, lambda parts: jmeta.maml(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2)),
    "fomaml": (
        RATE,
        lambda parts: jmeta.maml(
            jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2, adjoint=jmeta.first_order()
        ),
    ),
    "imaml": (
        {**RATE, "inner_optimizer": "adam", "proximal_strength": 3.0, "damping": 0.5, "solver_steps": 4},
        lambda parts: jmeta.maml(
            jmeta.compose(*parts),
            jmeta.squared_error,
            optax.adam(0.3, b1=0.0),
            num_steps=2,
            adjoint=jmeta.implicit(proximal_strength=3.0, damping=0.5, solver_steps=4),
        ),
    ),
    "anil": (RATE, lambda parts: jmeta.anil(parts, jmeta.squared_error, optax.sgd(0.3), num_steps=2)),
    "boil": (RATE, lambda parts: jmeta.boil(parts, jmeta.squared_error, optax.sgd(0.3), num_steps=2)),
    "reptile": (
        {**RATE, "inner_batch": 2},
        lambda parts: jmeta.reptile(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=2, batch_size=2),
    ),
    "meta_sgd": (
        {"initial_rate": 0.3, "inner_steps": 2},
        lambda parts: jmeta.meta_sgd(jmeta.compose(*parts), jmeta.squared_error, initial_rate=0.3, num_steps=2),
    ),
    "pretraining": (
        {"fine_tuning_rate": 0.3},
        lambda parts: jmeta.maml(jmeta.compose(*parts), jmeta.squared_error, optax.sgd(0.3), num_steps=0),
    ),
}


def test_every_learner_of_sinusoids_is_built_by_hand_below():
    assert set(BY_HAND) == {name for name in METHODS if solves(name, "sinusoid")}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_name_builds_the_learner_that_it_names(name):
    values, by_hand = BY_HAND[name]
    recipe = build(tiny(name, **values))
    by_hand = by_hand(perceptron(PerceptronOptions((4, 4)), 1))
    # The step size of a descent must matter: so must its predictions after other steps than it is trained with.
    episode = recipe.test.sample(recipe.test.data, jax.random.key(3))

    def seen(learner):
        @jax.jit
        def of(params):
            loss = jax.value_and_grad(learner.loss, has_aux=True)(params, jax.random.key(4), episode)
            return loss, learner.path(params, jax.random.key(5), episode.support, 3)

        return of(recipe.state.params)

    found, expected = jax.tree.leaves(seen(recipe.learner)), jax.tree.leaves(seen(by_hand))
    # The same program.
    assert all(np.array_equal(left, right) for left, right in zip(found, expected, strict=True))


@pytest.mark.parametrize(("name", "steps"), [("maml", 4), ("reptile", 4), ("meta_sgd", 4), ("pretraining", 0)])
def test_parameters_are_chosen_after_as_many_steps_as_they_are_tested_after(name, steps):
    recipe = build(tiny(name, evaluation_steps=4))
    episode = recipe.validation.sample(recipe.validation.data, jax.random.key(3))
    params, key = recipe.state.params, jax.random.key(0)

    @jax.jit
    def losses(params):
        path = recipe.learner.path(params, key, episode.support, steps)
        outputs = recipe.learner.predict(params, jax.tree.map(lambda leaf: leaf[-1], path), episode.query.x)
        return recipe.validated.loss(params, key, episode, training=False)[0], jnp.square(outputs - episode.query.y).mean()

    # One program, whose two ways to the same steps may round otherwise.
    np.testing.assert_allclose(*losses(params), rtol=1e-5)


def test_the_outer_gradient_is_clipped_to_its_norm():
    gradient = {"a": jnp.array([30.0, 40.0])}

    def update(**values):
        optimizer = build(tiny(outer_optimizer="sgd", learning_rate=1.0, schedule="constant", **values)).optimizer
        return optimizer.update(gradient, optimizer.init(gradient), gradient)[0]["a"]

    # -g, and -g 5 / |g| with |g| = 50.
    np.testing.assert_allclose(update(), [-30, -40], rtol=1e-6)
    np.testing.assert_allclose(update(clip_norm=5.0), [-3, -4], rtol=1e-6)


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
    checkpointing.save(tmp_path / "checkpoints", 3, jmeta.Fitted(state, jmeta.Best(best, state.step, jnp.asarray(loss))))
    learner, params = jmeta.load(tmp_path)
    chex.assert_trees_all_equal(params, {"best": best, "last": state.params}[expected])
    assert learner.path is not None


def test_baseline_shares_all_but_the_method():
    config = tiny()
    baseline = baseline_config(config)
    assert baseline.method_name == "pretraining"
    assert all(getattr(baseline, name) == getattr(config, name) for name in (*SECTIONS[1:], "data"))


def test_baseline_trains_by_the_problems_outer_step_where_the_method_has_one_of_its_own():
    training = baseline_config(tiny("reptile", steps=77)).training
    assert training == dataclasses.replace(default_config("maml", "sinusoid").training, steps=77)
    assert tiny("reptile").training.outer_optimizer == "sgd"


def test_fine_tuning_rate_is_the_best_of_a_loop_over_rates_and_tasks():
    rates = (1e-4, 0.05, 1e6)
    config = tiny("pretraining", fine_tuning_rates=rates, validation_episodes=4)
    recipe = build(config)
    model = jmeta.compose(*perceptron(config.network, 1))
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
    found = references()
    # The midpoint rule with 400 points errs by less than 1e-4 here; the functions are computed in float32.
    (zero, expected_zero), (best, expected_best) = found["predicting zero"], found["best function of x alone"]
    assert expected_zero == pytest.approx(square, rel=1e-4)
    assert expected_best == pytest.approx(square - (mean_wave**2).mean(), rel=1e-4)
    inputs = jnp.asarray(x[:, None], jnp.float32)
    np.testing.assert_array_equal(zero.predict((), None, inputs), np.zeros((400, 1)))
    np.testing.assert_allclose(best.predict((), None, inputs)[:, 0], mean_wave, atol=1e-4)


def test_divergence_says_when_and_how_many():
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "validation/diverged": 0.0}]
    assert divergence(lines, 50) is None
    lines += [{"step": 2_000, "validation/diverged": 4.0}, {"step": 3_000, "validation/diverged": 1.0}]
    assert divergence(lines, 50) == (
        "validation diverged 2 of 3 times, first at step 2,000: the loss of 1 to 4 of 50 tasks was not finite; such a step is "
        "never chosen."
    )
    assert "the loss of 4 of 50 tasks" in divergence(lines[:3], 50)
