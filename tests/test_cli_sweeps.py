"""``jmeta train ... --sweep ... --seeds N``: its files, its choice, and what it says."""

import json

import jax
import numpy as np
import pytest

import jmeta
from jmeta._catalogue.config import read_config
from jmeta._catalogue.options import with_values
from jmeta._catalogue.recipes import build
from jmeta._catalogue.runs import train_run
from jmeta._catalogue.sweeps import read_plan
from jmeta._cli.main import main

SMALL = {
    "steps": 20,
    "steps-per-chunk": 10,
    "validate-every": 10,
    "validation-episodes": 5,
    "episodes": 5,
    "evaluation-steps": 2,
    "hidden": 4,
    "tasks-per-step": 2,
    "checkpoint-every": 10,
}


def train(directory, *words):
    small = [f"--{name}={value}" for name, value in SMALL.items()]
    return main(["train", "maml", "sinusoid", "--out", str(directory), *small, *words])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "run"
    assert train(directory, "--sweep", "inner_rate=0.001,0.01", "inner-steps=1,2", "--seeds", "2") == 0
    return directory


def test_a_sweep_leaves_its_files(swept):
    assert {path.name for path in swept.iterdir()} >= {
        "config.json",
        "sweep.json",
        "sweep.png",
        "evaluation.json",
        "checkpoints",
        "sweep",
    }
    # Numbers of steps are programs of their own, rates are not.
    assert sorted(path.name for path in (swept / "sweep").iterdir()) == ["program-0", "program-1"]
    plan = read_plan(swept)
    assert [row["values"] for row in plan.rows] == [
        {"inner_rate": rate, "inner_steps": steps} for rate in (0.001, 0.01) for steps in (1, 2)
    ]
    means = np.array([row["losses"] for row in plan.rows]).mean(axis=1)
    assert plan.chosen == means.argmin()
    assert np.shape(plan.test) == (3, 2)


def test_the_chosen_setting_is_the_run_of_the_folder(swept):
    plan, config = read_plan(swept), read_config(swept)
    chosen = plan.rows[plan.chosen]
    assert {name: getattr(config.method, name) for name in chosen["values"]} == chosen["values"]
    assert config.training.seed == np.argmin(chosen["losses"])
    learner, params = jmeta.load(swept)
    recipe = build(config)
    found = jmeta.evaluate(learner, params, recipe.test, metric=recipe.metric, num_steps=2, episodes=5, batch_size=100)
    scores = json.loads((swept / "evaluation.json").read_text())
    np.testing.assert_allclose(found.after_steps[2].mean, scores["after_steps"]["2"]["mean"], rtol=1e-5)
    np.testing.assert_allclose(plan.test[2][config.training.seed], found.after_steps[2].mean, rtol=1e-5)


def test_a_setting_is_what_it_would_be_alone(swept, tmp_path):
    """The same tasks in the same order, and the same validation."""
    plan, config = read_plan(swept), read_config(swept)
    row = plan.rows[1]
    alone = with_values(config, **row["values"], seed=1)
    train_run(tmp_path, alone, lambda sentence: None)
    recipe = build(alone)
    like = jmeta.Fitted(recipe.state, jmeta.Best(recipe.state.params, recipe.state.step, jax.numpy.zeros(())))
    _, fitted = jmeta.checkpointing.restore(tmp_path / "checkpoints", like)
    # float32, several trainings in one program
    np.testing.assert_allclose(fitted.best.loss, row["losses"][1], rtol=1e-4)
    assert int(fitted.best.step) == row["steps"][1]


def test_a_sweep_goes_on_where_it_was(swept, capsys):
    plan = json.loads((swept / "sweep.json").read_text())
    (swept / "sweep.json").write_text(json.dumps(plan | {"rows": [], "chosen": None, "test": [], "metric": ""}))
    checkpoints = swept / "checkpoints"
    checkpoints.rename(swept / "moved")
    assert main(["resume", str(swept)]) == 0
    assert json.loads((swept / "sweep.json").read_text()) == plan
    assert "4 settings x 2 seeds, 20 steps each" in capsys.readouterr().out
    assert main(["resume", str(swept)]) == 0
    assert "is complete at step 20" in capsys.readouterr().out


def test_seeds_alone_are_a_sweep_of_one_setting(tmp_path, capsys):
    assert train(tmp_path / "run", "--seeds", "2") == 0
    plan = read_plan(tmp_path / "run")
    assert len(plan.rows) == 1
    assert len(plan.rows[0]["losses"]) == 2
    out = capsys.readouterr().out
    assert "validation loss, 2 seeds" in out
    assert "in the test, over 2 seeds" in out


def test_a_damaged_plan_is_named(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert train(tmp_path / "run", "--seeds", "2") == 0
    (tmp_path / "run" / "sweep.json").write_text("{")
    assert main(["plot", str(tmp_path / "run")]) == 1
    assert "sweep.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sweep", "inner_rat=0.1"], "sweep must name an option among clip_norm, hidden, inner_rate"),
        (["--sweep", "shots=1,2"], "sweep must name an option among"),
        (["--sweep", "inner_rate"], "sweep must be given as inner_rate=VALUE,VALUE,... once for each option; got 'inner_rate'"),
        (["--sweep", "inner_rate=0.1", "inner_rate=0.2"], "once for each option"),
        (["--sweep", "inner_steps=1,x"], "inner_steps must be int; got 'x' in sweep"),
        (["--sweep", "inner_rate=0.1,-1"], "inner_rate must be above 0 and below 2^31; got -1.0"),
        (["--seeds", "0"], "seeds must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_sweeps_are_refused_in_a_sentence(words, sentence, tmp_path, capsys):
    assert train(tmp_path / "run", *words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
