"""The command line on several tasks at once."""

import json
import signal
from typing import get_args

import chex
import jax
import numpy as np
import pytest

import jmeta
from jmeta._catalogue import multitask_recipes
from jmeta._catalogue.combining import AGGREGATORS, WEIGHTINGS
from jmeta._catalogue.config import read_config
from jmeta._catalogue.multitask_recipes import build_multitask, initial_multitask_state, shared_model
from jmeta._catalogue.optimizers import outer_optimizer
from jmeta._catalogue.options import Combining, with_values
from jmeta._catalogue.sweeps import read_plan
from jmeta._catalogue.tables import SHARING, default_config
from jmeta._cli import main as command_line
from jmeta._cli.main import main
from jmeta._reporting import read_metrics

OPTIONS = {
    **{"steps": 20, "steps-per-chunk": 5, "validate-every": 5, "checkpoint-every": 10, "examples": 8, "classes": 3},
    **{"channels": "4 4", "head-channels": 4, "evaluation-examples": 30},
}
TRAIN = ["train", "hard_parameter_sharing", "multi_glyphs"]
TRAIN += [word for name, value in OPTIONS.items() for word in (f"--{name}", *str(value).split())]
TASKS = {"first", "second", "rotation", "mask"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that went through, and what it printed."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **options: lines.append(" ".join(map(str, words))))
        assert main([*TRAIN, "--out", str(directory)]) == 0
    return directory, "\n".join(lines)


def test_a_run_leaves_its_files(run):
    directory, _ = run
    expected = {"config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "training.png"}
    assert {path.name for path in directory.iterdir()} == expected
    lines = read_metrics(directory)
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert {f"validation/{name}/loss" for name in TASKS} <= set(lines[-1])


def test_the_file_of_the_test_holds_what_the_library_says_of_the_loaded_model(run):
    directory, printed = run
    found = json.loads((directory / "evaluation.json").read_text())
    assert set(found["scores"]) == set(found["constant"]) == TASKS
    model, params = jmeta.load(directory)
    test = build_multitask(read_config(directory)).splits.test
    metrics = {name: {"accuracy": jmeta.accuracy} for name in ("first", "second")}
    metrics |= {"rotation": {"error": jmeta.squared_error}, "mask": {"mean IoU": jmeta.metrics.mean_iou}}
    scores = jmeta.evaluate_tasks(model, params, test, metrics)
    for name, metric in (("first", "accuracy"), ("second", "accuracy"), ("mask", "mean IoU")):
        assert found["scores"][name][metric] == pytest.approx(scores[name][metric]._asdict(), rel=1e-5)
        assert f"{100 * scores[name][metric].mean:.2f} ± " in printed


def test_the_angle_is_that_between_directions(run):
    directory, _ = run
    found = json.loads((directory / "evaluation.json").read_text())["scores"]["rotation"]["angular error (degrees)"]["mean"]
    model, params = jmeta.load(directory)
    test = build_multitask(read_config(directory)).splits.test
    outputs, targets = (np.asarray(part, float) for part in (model.predict(params, "rotation", test.x), test.y["rotation"]))
    cosines = (outputs * targets).sum(axis=1) / np.linalg.norm(outputs, axis=1) / np.linalg.norm(targets, axis=1)
    # The tangent's half is exact to float32; arc cosines lose digits near 0 and 180 degrees.
    assert found == pytest.approx(np.degrees(np.arccos(cosines)).mean(), rel=1e-3)


def test_what_ignores_the_input_is_the_best_of_its_kind(run):
    directory, _ = run
    found = json.loads((directory / "evaluation.json").read_text())["constant"]
    test = build_multitask(read_config(directory)).splits.test
    # Most pixels are paper; a share of the rows has each of the few classes.
    assert found["mask"]["pixel accuracy"]["mean"] == pytest.approx((test.y["mask"] == 0).mean())
    shares = [(test.y["first"] == label).mean() for label in range(3)]
    assert any(found["first"]["accuracy"]["mean"] == pytest.approx(share) for share in shares)


def test_stopped_and_resumed_ends_bitwise_like_a_whole_run(run, tmp_path, monkeypatch, capsys):
    whole, _ = run
    directory, build_validator = tmp_path / "stopped", multitask_recipes.task_validator

    def validator(*arguments, **options):
        validate, calls = build_validator(*arguments, **options), []

        def validate_and_stop(params):
            calls.append(params)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return validate(params)

        return validate_and_stop

    monkeypatch.setattr(command_line, "draw", lambda *_: [])
    monkeypatch.setattr(multitask_recipes, "task_validator", validator)
    build_multitask.cache_clear()
    assert main([*TRAIN, "--out", str(directory)]) == 130
    assert f"stopped at step 10; go on with: jmeta resume {directory}" in capsys.readouterr().err
    monkeypatch.setattr(multitask_recipes, "task_validator", build_validator)
    build_multitask.cache_clear()
    assert main(["resume", str(directory)]) == 0
    assert "from step 10" in capsys.readouterr().out
    for name in ("evaluation.json", "metrics.jsonl"):
        assert (directory / name).read_bytes() == (whole / name).read_bytes()
    chex.assert_trees_all_equal(*(jmeta.load(place)[1] for place in (directory, whole)))


def test_another_test_is_another_file(run, capsys):
    directory, _ = run
    assert main(["evaluate", str(directory), "--evaluation-seed", "1"]) == 0
    assert "evaluation-seed-1.json" in capsys.readouterr().out
    first, other = (json.loads((directory / f"evaluation{suffix}.json").read_text()) for suffix in ("", "-seed-1"))
    assert first["scores"] != other["scores"]


def test_a_sweep_compares_what_becomes_of_the_tasks(tmp_path, capsys):
    words = ["--sweep", "combining=famo,pcgrad", "--seeds", "2", "--out", str(tmp_path / "swept")]
    assert main([*TRAIN, *words]) == 0
    plan = read_plan(tmp_path / "swept")
    assert [row["values"] for row in plan.rows] == [{"combining": name} for name in ("famo", "pcgrad")]
    assert np.shape(plan.test) == (1, 2)
    assert read_config(tmp_path / "swept").training.combining == ("famo", "pcgrad")[plan.chosen]
    assert "mean loss in the test, over 2 seeds" in capsys.readouterr().out


def test_what_a_step_costs_is_said_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_complete", lambda *_: 0)
    assert main([*TRAIN, "--cost", "--out", str(tmp_path / "run")]) == 0
    assert "cost of one training step" in capsys.readouterr().out


def test_gradients_of_features_are_aggregated_where_that_is_asked_for():
    values = {"examples": 2, "classes": 3, "channels": (4, 4), "head_channels": 4, "evaluation_examples": 2, "combining": "pcgrad"}
    config = with_values(default_config("hard_parameter_sharing", "multi_glyphs"), **values, outer_optimizer="sgd")
    steps = []
    for features in (False, True):
        course = build_multitask(with_values(config, combining_features=features)).course
        data = course.train.sample(course.train.data, jax.random.key(0))
        steps.append(jax.jit(course.step)(course.state, data)[0].params)
    first, other = (params.encoder[0] for params in steps)
    chex.assert_trees_all_close(steps[0].head, steps[1].head, rtol=1e-5)
    assert not np.allclose(*(jax.tree.leaves(part)[0] for part in (first, other)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", SHARING)
def test_each_way_of_sharing_takes_a_step(name):
    """As far as shapes and types go; what it computes is tested with the library."""
    values = {"examples": 2, "classes": 3, "channels": (4, 4), "head_channels": 4, "evaluation_examples": 2}
    course = build_multitask(with_values(default_config(name, "multi_glyphs"), **values)).course
    data = jax.eval_shape(course.train.sample, course.train.data, course.state.key)
    state, metrics = jax.eval_shape(course.step, course.state, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, course.state)
    assert {f"{task}/loss" for task in TASKS} <= set(metrics)


@pytest.mark.parametrize(
    ("name", "option", "part"),
    [
        ("cross_stitch_networks", "unit_rate", lambda params: params.encoder.units),
        ("soft_parameter_sharing", "penalty_strength", lambda params: params.head["mask"].encoder),
        ("sluice_networks", "orthogonality", lambda params: params.encoder.towers),
    ],
)
def test_units_and_penalties_are_as_strong_as_is_asked_for(name, option, part):
    values = {"channels": (4, 4), "head_channels": 4, "outer_optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant"}
    config = with_values(default_config(name, "multi_glyphs"), **values)
    params, moves = initial_multitask_state(config).params, []
    # A gradient that is for units to follow, and one of zeros that leaves penalties alone.
    gradient = jax.tree.map(lambda leaf: np.full_like(leaf, name == "cross_stitch_networks"), params)
    for strength in (1.0, 2.0):
        _, sharing = shared_model(with_values(config, **{option: strength}))
        optimizer = sharing.tuned(outer_optimizer(config))
        moves.append(part(optimizer.update(gradient, optimizer.init(params), params)[0]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(moves[0]))
    chex.assert_trees_all_close(moves[1], jax.tree.map(lambda leaf: 2 * leaf, moves[0]), rtol=1e-5)


def test_every_combining_can_be_named():
    assert set(get_args(Combining)) == set(WEIGHTINGS) | set(AGGREGATORS)
    for name, build in {**WEIGHTINGS, **AGGREGATORS}.items():
        assert isinstance(build(), jmeta.Weighting if name in WEIGHTINGS else jmeta.Aggregator)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "train maml multi_glyphs --out x",
            "few-shot classification and few-shot regression; multi_glyphs is multi-task",
        ),
        (
            "train hard_parameter_sharing sinusoid --out x",
            "solves multi-task; sinusoid is few-shot regression",
        ),
        ("train hard_parameter_sharing multi_glyphs --out x --classes 0", "classes must be above 0"),
        ("train hard_parameter_sharing multi_glyphs --out x --combining-features", "combining_features"),
    ],
)
def test_bad_usage_is_one_sentence(words, sentence, capsys):
    assert main(words.split()) == 2
    assert sentence in capsys.readouterr().err
