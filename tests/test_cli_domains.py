"""The command line on pairs of domains: what is trained, what chooses, and what is said of it."""

import json
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, transfer
from jmeta._catalogue import domain_recipes
from jmeta._catalogue.config import read_config
from jmeta._catalogue.domain_recipes import adapted_model, build_domains, initial_domain_state, label_free_validator
from jmeta._catalogue.domain_results import choices_of
from jmeta._catalogue.options import with_values
from jmeta._catalogue.stages import dense_head
from jmeta._catalogue.sweeps import read_plan
from jmeta._catalogue.tables import ALIGNMENTS, DOMAIN_PAIRS, default_config
from jmeta._cli import main as command_line
from jmeta._cli.main import main
from jmeta._reporting import read_metrics
from tests.tasks.test_domains import SETS

OPTIONS = {
    **{"steps": 20, "steps-per-chunk": 5, "validate-every": 5, "checkpoint-every": 10, "examples": 8, "classes": 3, "judged": 50},
    **{"drawings": 60, "filters": "2 3", "hidden-units": 4, "evaluation-examples": 40, "learning-rate": 0.01},
}
TRAIN = ["train", "coral", "glyph-shift"]
TRAIN += [word for name, value in OPTIONS.items() for word in (f"--{name}", *str(value).split())]
TINY = {"classes": 3, "filters": (2, 3), "hidden_units": 4, "drawings": 20, "examples": 4, "evaluation_examples": 10, "steps": 50}


def tiny(method, **values):
    return with_values(default_config(method, "glyph-shift"), **TINY | values)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that went through, and what it printed."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **options: lines.append(" ".join(map(str, words))))
        assert main([*TRAIN, "--out", str(directory)]) == 0
    return directory, "\n".join(lines)


def drawn(split, name, examples, seed=0):
    sampler = jmeta.glyph_shift(examples=examples, classes=3, size=20, split=split)
    return jax.device_get(jax.jit(sampler.sample)(sampler.data, jax.random.key(seed)))[name]


def test_a_run_leaves_its_files(run):
    directory, _ = run
    expected = {"config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "training.png", "choice.png"}
    assert {path.name for path in directory.iterdir()} == expected
    assert [line["step"] for line in read_metrics(directory)] == [5, 10, 15, 20]


def test_the_file_of_the_test_holds_what_the_library_says_of_the_loaded_model(run):
    directory, printed = run
    found = json.loads((directory / "evaluation.json").read_text())
    model, params = jmeta.load(directory)
    for name, batch in (("target", drawn("test", "target", 40)), ("source", drawn("validation", "source", 60))):
        right = (np.asarray(model.predict(params, batch.x)).argmax(axis=1) == batch.y).mean()
        assert found["scores"][name]["mean"] == pytest.approx(right, abs=1e-6)
        assert f"{100 * right:.2f} ± " in printed
    most_frequent = np.bincount(drawn("train", "source", 60).y).argmax()
    assert found["constant"] == pytest.approx((drawn("test", "target", 40).y == most_frequent).mean())
    assert (found["examples"], found["transductive"], found["chosen_by"]) == (40, False, "source")
    assert "40 examples of grey paper, not trained on" in printed


def test_what_is_kept_is_what_the_score_chose_and_what_others_would_have_chosen_stands_beside_it(run):
    directory, printed = run
    found, lines = json.loads((directory / "evaluation.json").read_text()), read_metrics(directory)
    assert set(found["choices"]) == {"source", "deep_embedded", "entropy", "oracle"}
    by_step = {line["step"]: line for line in lines}
    for name, choice in found["choices"].items():
        key, sign = ("target_accuracy", -1) if name == "oracle" else (name, 1)
        assert choice["step"] == min(by_step, key=lambda step: sign * by_step[step][f"validation/{key}"])
        assert choice["target"] == by_step[choice["step"]]["validation/target_accuracy"]
        assert f"step {choice['step']}" in printed
    assert found["choices"]["source"]["target"] == pytest.approx(found["scores"]["target"]["mean"], abs=1e-6)
    # The kept parameters are those of that step.
    validate = build_domains(read_config(directory)).course.validation
    _, params = jmeta.load(directory)
    assert validate(params)["loss"] == pytest.approx(by_step[found["choices"]["source"]["step"]]["validation/loss"], rel=1e-5)


@pytest.mark.parametrize("score", ["source", "deep_embedded", "entropy"])
def test_a_step_is_chosen_by_the_score_that_is_asked_for_and_by_no_label_of_the_target(score):
    config = tiny("coral", choose_by=score)
    recipe, params = build_domains(config), initial_domain_state(config).params
    assert recipe.domains.target.y is None
    other = recipe.domains._replace(test=recipe.domains.test._replace(y=np.full_like(recipe.domains.test.y, -1)))
    found, changed = (label_free_validator(config, recipe.model, domains)(params) for domains in (recipe.domains, other))
    domains = recipe.domains
    data = {"source": domains.source, "validation": domains.validation, "target": domains.target}
    expected = transfer.label_free_scores(recipe.model, params, data)._asdict()
    assert found["loss"] == pytest.approx(expected[score], rel=1e-5)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["target_accuracy"] > 0
    assert changed == {**found, "target_accuracy": 0}


def test_no_more_examples_are_judged_than_are_asked_for(monkeypatch):
    seen = {}
    scores = transfer.LabelFreeScores(1.0, 2.0, 3.0)
    monkeypatch.setattr(domain_recipes, "label_free_scores", lambda model, params, data, **options: seen.update(data) or scores)
    config = tiny("coral", judged=7)
    recipe = build_domains(config)
    recipe.course.validation(recipe.course.state.params)
    assert {name: len(batch.x) for name, batch in seen.items()} == {"source": 7, "validation": 20, "target": 7}
    rows = {row.tobytes() for row in recipe.domains.source.x}
    assert len(rows & {np.asarray(row).tobytes() for row in seen["source"].x}) == 7


def test_a_score_that_is_not_finite_chooses_nothing():
    names = ("loss", "source", "deep_embedded", "entropy", "target_accuracy", "source_accuracy")
    lines = [{"step": step, **{f"validation/{name}": value for name in names}} for step, value in ((1, None), (2, 0.5), (3, 0.7))]
    found = choices_of([{"step": 0}, *lines])
    assert {name: choice.step for name, choice in found.items()} == {"source": 2, "deep_embedded": 2, "entropy": 2, "oracle": 3}
    assert choices_of([{"step": 0}]) == {}


def test_stopped_and_resumed_ends_bitwise_like_a_whole_run(run, tmp_path, monkeypatch, capsys):
    whole, _ = run
    directory, build_validator = tmp_path / "stopped", domain_recipes.label_free_validator

    def validator(*arguments):
        validate, calls = build_validator(*arguments), []

        def validate_and_stop(params):
            calls.append(params)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return validate(params)

        return validate_and_stop

    monkeypatch.setattr(command_line, "draw", lambda *_: [])
    monkeypatch.setattr(domain_recipes, "label_free_validator", validator)
    build_domains.cache_clear()
    assert main([*TRAIN, "--out", str(directory)]) == 130
    assert f"stopped at step 10; go on with: jmeta resume {directory}" in capsys.readouterr().err
    monkeypatch.setattr(domain_recipes, "label_free_validator", build_validator)
    build_domains.cache_clear()
    assert main(["resume", str(directory)]) == 0
    assert "from step 10" in capsys.readouterr().out
    for name in ("evaluation.json", "metrics.jsonl"):
        assert (directory / name).read_bytes() == (whole / name).read_bytes()
    chex.assert_trees_all_equal(*(jmeta.load(place)[1] for place in (directory, whole)))


def test_another_test_is_another_file_without_the_choices_of_the_first(run, capsys):
    directory, _ = run
    assert main(["evaluate", str(directory), "--evaluation-seed", "1"]) == 0
    printed = capsys.readouterr().out
    first, other = (json.loads((directory / f"evaluation{suffix}.json").read_text()) for suffix in ("", "-seed-1"))
    batch, (model, params) = drawn("test", "target", 40, seed=1), jmeta.load(directory)
    right = (np.asarray(model.predict(params, batch.x)).argmax(axis=1) == batch.y).mean()
    assert other["scores"]["target"]["mean"] == pytest.approx(right, abs=1e-6)
    assert first["choices"]
    assert not other["choices"]
    assert "oracle" not in printed


def test_a_sweep_is_chosen_without_target_labels(tmp_path, capsys):
    words = ["--sweep", "strength=0.1,10", "--seeds", "2", "--choose-by", "deep_embedded", "--out", str(tmp_path / "swept")]
    assert main([*TRAIN, *words]) == 0
    plan, config = read_plan(tmp_path / "swept"), read_config(tmp_path / "swept")
    means = [np.mean(row["losses"]) for row in plan.rows]
    assert config.method.strength == (0.1, 10.0)[int(np.argmin(means))]
    assert "over 2 seeds" in capsys.readouterr().out
    recipe, (model, params) = build_domains(config), jmeta.load(tmp_path / "swept")
    # What is kept is what was judged.
    lowest = min(plan.rows[plan.chosen]["losses"])
    assert recipe.course.validation(params)["deep_embedded"] == pytest.approx(lowest, rel=1e-4, abs=1e-6)
    test = recipe.domains.test
    right = (np.asarray(model.predict(params, test.x)).argmax(axis=1) == test.y).mean()
    assert plan.test[0][config.training.seed] == pytest.approx(right, abs=1e-6)


def test_what_a_step_costs_is_said_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_complete", lambda *_: 0)
    assert main([*TRAIN, "--cost", "--out", str(tmp_path / "run")]) == 0
    assert "cost of one training step" in capsys.readouterr().out


def rising(peak):
    return transfer.reversal_schedule(50, peak=peak)


GAME = {"strength": 0.7, "reversal": 0.3, "discriminator_units": 5}
BY_HAND = {
    "source_only": ({}, None),
    "coral": ({"strength": 3.0}, lambda head: transfer.coral(strength=3.0)),
    "mmd": ({"strength": 3.0}, lambda head: transfer.mmd(strength=3.0)),
    "joint_mmd": ({"strength": 3.0}, lambda head: transfer.joint_mmd(strength=3.0)),
    "dann": (GAME, lambda head: transfer.dann(dense_head(1, hidden=(5,)), reversal=rising(0.3), strength=0.7)),
    "cdan": (
        {**GAME, "entropy": False},
        lambda head: transfer.cdan(dense_head(1, hidden=(5,)), entropy=False, reversal=rising(0.3), strength=0.7),
    ),
    "mcc": ({"strength": 3.0, "temperature": 1.5}, lambda head: transfer.mcc(strength=3.0, temperature=1.5)),
    "mcd": ({"strength": 0.7, "reversal": 0.3}, lambda head: transfer.mcd(head, reversal=rising(0.3), strength=0.7)),
    "mdd": (
        {"margin": 2.0, "strength": 0.7, "reversal": 0.3},
        lambda head: transfer.mdd(head, margin=2.0, reversal=rising(0.3), strength=0.7),
    ),
    "minimum_entropy": ({"strength": 3.0}, lambda head: transfer.minimum_entropy(strength=3.0)),
}


def test_every_alignment_is_built_by_hand_above():
    assert set(BY_HAND) == set(ALIGNMENTS)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_name_builds_the_alignment_that_it_names(name):
    values, alignment = BY_HAND[name]
    config = tiny(name, **values)
    recipe, cross_entropy = build_domains(config), optax.softmax_cross_entropy_with_integer_labels
    encoder, head = DOMAIN_PAIRS["glyph-shift"].setting(config).network
    params, train = recipe.course.state.params, recipe.course.train
    data = train.sample(train.data, jax.random.key(1))
    if alignment is None:
        objective = transfer.supervised(jmeta.compose(encoder, head), cross_entropy)
        network = jmeta.EncoderHead(params.encoder, params.head)

        def expected(network):
            return objective(network, jax.random.key(0), data["source"])[0]

        def found(params):
            return recipe.model.objective(params, jax.random.key(0), data)[0]

        (value, gradient), (other, of_all) = (
            jax.jit(jax.value_and_grad(function))(at) for function, at in ((expected, network), (found, params))
        )
        # The target is not looked at; the rounding is that of another program.
        chex.assert_trees_all_close((other, of_all.encoder, of_all.head), (value, *gradient), rtol=1e-5, atol=1e-7)
        return
    by_hand = transfer.domain_adaptation(encoder, head, cross_entropy, alignment(head))

    def seen(model):
        gradient = jax.value_and_grad(model.objective, has_aux=True)
        return jax.jit(lambda params: gradient(params, jax.random.key(0), data, step=jnp.asarray(20)))(params)

    # The same program.
    chex.assert_trees_all_equal(seen(recipe.model), seen(by_hand))


@pytest.mark.parametrize("problem", DOMAIN_PAIRS)
def test_a_model_is_loaded_without_data(problem):
    config = default_config("mcd", problem)
    state, model = initial_domain_state(config), adapted_model(config)
    example = DOMAIN_PAIRS[problem].example(config)
    classes = DOMAIN_PAIRS[problem].setting(config).classes
    assert model.predict(state.params, example["target"].x).shape == (1, classes)


def test_digits_are_trained_on_in_one_part_and_tested_on_in_the_other(tmp_path):
    for name in ("mnist", "usps"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{name}.npz", **SETS[name][2])
    values = {"path": str(tmp_path), "source": "usps", "validation_share": 0.25, "examples": 4}
    found = DOMAIN_PAIRS["mnist-usps"].domains(with_values(default_config("coral", "mnist-usps"), **values))
    digits = jmeta.mnist_usps(tmp_path)
    assert found.names == ("usps", "mnist")
    np.testing.assert_array_equal(found.target.x, digits["mnist"]["train"].x)
    np.testing.assert_array_equal(found.test.x, digits["mnist"]["test"].x)
    np.testing.assert_array_equal(found.test.y, digits["mnist"]["test"].y)
    assert found.target.y is None
    check_divided(digits["usps"]["train"], found, 3)


def check_divided(whole, found, held_out):
    """Every example of the source is in one of the two parts, with its label."""
    assert len(found.validation.y) == held_out
    rows = {row.tobytes(): label for row, label in zip(whole.x, whole.y, strict=True)}
    parts = [(row.tobytes(), label) for part in (found.source, found.validation) for row, label in zip(part.x, part.y, strict=True)]
    assert dict(parts) == rows
    assert len(parts) == len(rows)


@pytest.mark.parametrize(
    ("problem", "read", "pair"),
    [
        ("office-caltech", "office_caltech", ("caltech10", "dslr")),
        ("amazon", "amazon_reviews", ("kitchen", "dvd")),
    ],
)
def test_counts_become_scores_of_shares_by_domain(problem, read, pair, tmp_path):
    reader, archive, arrays, _ = SETS[read]
    np.savez(tmp_path / archive, **arrays)
    values = {"path": str(tmp_path), "source": pair[0], "target": pair[1], "validation_share": 0.4, "examples": 1}
    found = DOMAIN_PAIRS[problem].domains(with_values(default_config("coral", problem), **values))
    raw = reader(tmp_path)

    def scores(batch):
        shares = batch.x.astype(float) / batch.x.sum(axis=1, keepdims=True)
        deviation = shares.std(axis=0)
        return (shares - shares.mean(axis=0)) / np.where(deviation > 0, deviation, 1)

    assert found.names == pair
    # Of float32; a column that hardly varies loses digits.
    np.testing.assert_allclose(found.test.x, scores(raw[pair[1]]), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.test.y, raw[pair[1]].y)
    assert found.target.x is found.test.x
    assert found.target.y is None
    both = np.concatenate([found.validation.x, found.source.x])
    np.testing.assert_allclose(np.sort(both, axis=0), np.sort(scores(raw[pair[0]]), axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("problem", ["mnist-usps", "office-caltech", "amazon"])
def test_real_domains_are_trained_on(problem, real_data, tmp_path, capsys, monkeypatch):
    for folder in {"mnist-usps": ("mnist", "usps"), "office-caltech": ("office_caltech_surf",), "amazon": ("amazon_review400",)}[
        problem
    ]:
        real_data(folder)
    monkeypatch.setattr(command_line, "draw", lambda *_: [])
    small = ["--filters", "2", "3", "--hidden-units", "8"] if problem == "mnist-usps" else ["--hidden", "8"]
    words = ["--steps", "3", "--steps-per-chunk", "3", "--examples", "16", "--judged", "100", *small]
    assert main(["train", "mmd", problem, *words, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    expected = {
        "mnist-usps": "2,007 examples of usps, not trained on",
        "office-caltech": "958 examples of amazon, trained on without their labels",
        "amazon": "1,998 examples of elec, trained on without their labels",
    }
    assert expected[problem] in printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train maml glyph-shift --out x", "few-shot classification and few-shot regression; glyph-shift is domain pair"),
        ("train coral sinusoid --out x", "coral solves domain pair; sinusoid is few-shot regression"),
        ("train coral glyph-shift --out x --shift 2", "shift must be at least 0 and below 2; got 2.0"),
        ("train coral glyph-shift --out x --strength 0", "strength must be above 0"),
        ("train mcc glyph-shift --out x --temperature -1", "temperature must be above 0"),
    ],
)
def test_bad_usage_is_one_sentence(words, sentence, capsys):
    assert main(words.split()) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"target": "books"}, "target must be another domain than the source; got books for both"),
        ({"validation_share": 0.01}, r"validation_share must hold out some of 4 examples, and not all; got 0\.01"),
        ({"validation_share": 1.0}, r"validation_share must hold out some of 4 examples, and not all; got 1\.0"),
    ],
)
def test_a_source_is_neither_the_target_nor_divided_to_nothing(values, sentence, tmp_path):
    _, archive, arrays, _ = SETS["amazon_reviews"]
    np.savez(tmp_path / archive, **arrays)
    config = with_values(default_config("coral", "amazon"), path=str(tmp_path), **values)
    with pytest.raises(ValueError, match=sentence):
        build_domains(config)


def test_a_batch_is_of_both_domains():
    course = build_domains(tiny("coral")).course
    data = jax.eval_shape(course.train.sample, course.train.data, course.state.key)
    assert {name: batch.x.shape for name, batch in data.items()} == dict.fromkeys(("source", "target"), (4, 20, 20, 1))
    assert isinstance(data["target"], Batch)
    assert data["target"].y is None
