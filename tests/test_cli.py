"""The command line, from a misspelt word to a finished run."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

import jmeta
from jmeta._catalogue import runs
from jmeta._catalogue.options import SECTIONS, values_of
from jmeta._catalogue.tables import FAMILIES, PROBLEMS, default_config, solves
from jmeta._cli import cache
from jmeta._cli import cost as costs
from jmeta._cli import main as command_line
from jmeta._cli.main import main
from jmeta._reporting import read_metrics

ROOT = Path(__file__).parent.parent
TINY = {
    **{"steps": 40, "steps-per-chunk": 10, "validate-every": 10, "checkpoint-every": 20, "tasks-per-step": 2, "hidden": "4 4"},
    **{"shots": 3, "validation-episodes": 5, "episodes": 20, "evaluation-steps": 2, "evaluation-queries": 5},
}
TRAIN = ["train", "maml", "sinusoid", *(word for name, value in TINY.items() for word in (f"--{name}", *str(value).split()))]


def places(directory):
    return {"maml": directory, "pretraining": directory / "baseline"}


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
    names = {path.name for path in directory.iterdir()}
    assert names == {
        *("config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "baseline"),
        *("training.png", "adaptation.png", "tasks.png"),
    }
    assert [line["step"] for line in read_metrics(directory)] == [10, 20, 30, 40]


def test_an_evaluation_says_what_it_was_measured_on_and_is_that_of_the_library(run):
    directory, _ = run
    found = json.loads((directory / "evaluation.json").read_text())
    learner, params = jmeta.load(directory)
    tasks = jmeta.sinusoid(shots=5, queries=5)
    expected = jmeta.evaluate(learner, params, tasks, metric=jmeta.squared_error, num_steps=2, episodes=20, seed=0, batch_size=100)
    zero = found["references"].pop("predicting zero")
    assert zero["expected"] == pytest.approx(4.2517, abs=1e-4)
    assert list(found.pop("references")) == ["best function of x alone"]
    assert found == {
        **{"method": "maml", "problem": "sinusoid", "metric": "squared_error", "shots": 5, "queries": 5, "episodes": 20, "seed": 0},
        "sizes": {"support": 5, "query": 5},
        "after_steps": {
            str(step): one._asdict() | {"diverged": 0} for step, one in zip(range(3), expected.after_steps, strict=True)
        },
        **{"normalization": "none", "transductive": False, "first_episode": expected.episodes, "jmeta": jmeta.__version__},
    }
    # E[y^2] over the tasks of the test, of which there are as many queries as zero was predicted for.
    keys = jax.random.split(jax.random.key(0), 20)
    squares = [np.square(tasks.sample(tasks.data, jax.random.split(key)[0]).query.y).mean() for key in keys]
    assert zero["mean"] == pytest.approx(np.mean(squares), rel=1e-5)


def test_another_protocol_is_another_file_and_other_plots(run, tmp_path, capsys):
    directory = tmp_path / "copy"
    shutil.copytree(run[0], directory)
    before = {path: path.read_bytes() for path in directory.rglob("*.json")}
    assert main(["evaluate", str(directory), "--evaluation-shots", "10", "--evaluation-steps", "3", "--evaluation-batch", "7"]) == 0
    printed = capsys.readouterr().out
    added = {path.relative_to(directory).as_posix() for path in directory.rglob("*.json")} - {
        path.relative_to(directory).as_posix() for path in before
    }
    name = "evaluation-shots-10-steps-3.json"
    assert added == {name, f"baseline/{name}"}
    assert {path: path.read_bytes() for path in before} == before
    found = json.loads((directory / name).read_text())
    assert (found["shots"], list(found["after_steps"])) == (10, ["0", "1", "2", "3"])
    written = [
        str(directory / file) for file in (name, "training.png", "adaptation-shots-10-steps-3.png", "tasks-shots-10-steps-3.png")
    ]
    assert f"wrote {', '.join(written)}" in printed
    assert all(Path(file).is_file() for file in written)


def test_the_protocol_of_the_run_is_its_own_file(run, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(run[0], directory)
    files = sorted(path.name for path in directory.iterdir())
    before = (directory / "evaluation.json").read_bytes()
    # How many run at once is no part of a protocol.
    assert main(["evaluate", str(directory), "--evaluation-batch", "100"]) == 0
    assert sorted(path.name for path in directory.iterdir()) == files
    assert (directory / "evaluation.json").read_bytes() == before


def test_divergence_is_counted_and_said(tmp_path, capsys):
    # On a linear head one step of the size 1 is finite, and 100 of them grow beyond all numbers; no unit can die of it.
    options = ["--inner-rate", "1.0", "--inner-steps", "1", "--evaluation-steps", "100", "--out", str(tmp_path / "run")]
    line = " ".join(TRAIN).replace(" --evaluation-steps 2", "").replace("maml", "anil").split()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main([*line, *options]) == 0
    printed = capsys.readouterr()
    counts = [line["validation/diverged"] for line in read_metrics(tmp_path / "run")]
    assert all(0 < count <= 5 for count in counts)
    assert all(line["validation/loss"] is None for line in read_metrics(tmp_path / "run"))
    several = f"{min(counts):.0f}" + (f" to {max(counts):.0f}" if len(set(counts)) > 1 else "")
    assert (
        f"validation diverged 4 of 4 times, first at step 10: the loss of {several} of 5 tasks was not finite; such a step is "
        "never chosen."
    ) in printed.out
    assert "warning: no validation loss was finite" in printed.err
    diverged = json.loads((tmp_path / "run" / "evaluation.json").read_text())["after_steps"]["100"]
    assert diverged["mean"] is None
    assert 0 < diverged["diverged"] <= 20
    (row,) = (line for line in printed.out.splitlines() if line.startswith("anil "))
    assert row.endswith(f"{diverged['diverged']} of 20 diverge")


def test_the_table_compares_with_the_baseline_and_the_paper(run):
    directory, printed = run
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    scores = {name: json.loads((place / "evaluation.json").read_text()) for name, place in places(directory).items()}
    rate = json.loads((directory / "baseline" / "config.json").read_text())["method"]["fine_tuning_rate"]
    for name, label in (("maml", "maml"), ("pretraining", f"pretraining (step size {rate:g})")):
        for estimate in scores[name]["after_steps"].values():
            assert f"{estimate['mean']:.2f} ± {estimate['half_width']:.2f}" in rows[label]
    # Table 2 of the paper, after the one step that both have.
    assert "the paper's" in printed
    assert "0.67" in printed
    assert "2.41" in printed
    assert {"predicting zero (expected 4.25)", "best function of x alone (expected 3.01)"} <= set(rows)
    assert "ms per task" in printed
    assert "normalisation none, not transductive" in printed


def test_the_paired_difference_is_that_of_the_means(run):
    directory, printed = run
    (row,) = (line for line in printed.splitlines() if line.startswith("maml - pretraining, paired"))
    scores = [
        json.loads((place / "evaluation.json").read_text())["after_steps"]["2"]["mean"] for place in places(directory).values()
    ]
    # Printed with two digits.
    assert float(row.split()[-3]) == pytest.approx(scores[0] - scores[1], abs=0.0051)


def test_another_process_writes_the_same_bytes(run, tmp_path):
    directory, _ = run
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-m", "jmeta", *TRAIN, "--no-baseline", "--out", str(tmp_path / "again")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in ("evaluation.json", "metrics.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()
    assert not (tmp_path / "again" / "baseline").exists()


def test_stopped_and_resumed_twice_ends_bitwise_like_a_whole_run(run, tmp_path, monkeypatch, capsys):
    whole, _ = run
    directory, build_validator = tmp_path / "stopped", runs.validator

    def stop_with(number, at):
        def validator(*arguments, **options):
            validate, calls = build_validator(*arguments, **options), []

            def validate_and_stop(params):
                calls.append(params)
                if len(calls) == at:
                    signal.raise_signal(number)
                return validate(params)

            return validate_and_stop

        monkeypatch.setattr(runs, "validator", validator)

    stop_with(signal.SIGINT, at=1)
    monkeypatch.setattr(command_line, "draw", lambda *_: [])
    assert main([*TRAIN, "--no-baseline", "--out", str(directory)]) == 130
    assert f"stopped at step 10; go on with: jmeta resume {directory}" in capsys.readouterr().err
    stop_with(signal.SIGTERM, at=2)
    assert main(["resume", str(directory)]) == 143
    assert "stopped at step 30;" in capsys.readouterr().err
    monkeypatch.setattr(runs, "validator", build_validator)
    assert main(["resume", str(directory)]) == 0
    assert "from step 30" in capsys.readouterr().out
    for name in ("evaluation.json", "metrics.jsonl"):
        assert (directory / name).read_bytes() == (whole / name).read_bytes()
    chex.assert_trees_all_equal(*(jmeta.load(place)[1] for place in (directory, whole)))


def test_resuming_a_complete_run_says_so(run, capsys):
    directory, _ = run
    before = (directory / "evaluation.json").stat().st_mtime_ns
    assert main(["resume", str(directory)]) == 0
    assert "is complete at step 40" in capsys.readouterr().out
    assert (directory / "evaluation.json").stat().st_mtime_ns == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(run, tmp_path, capsys):
    directory = tmp_path / "damaged"
    shutil.copytree(run[0], directory)
    (directory / "checkpoints" / "40" / "structure.json").write_text("[]")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["plot", str(directory)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: checkpoint 40 is left out: ")
    assert "structure.json" in line


def test_plot_draws_again(run, capsys):
    directory, _ = run
    (directory / "tasks.png").unlink()
    assert main(["plot", str(directory)]) == 0
    assert (directory / "tasks.png").read_bytes().startswith(b"\x89PNG")
    assert "tasks.png" in capsys.readouterr().out
    assert main(["plot", str(directory / "baseline")]) == 0
    assert {path.name for path in (directory / "baseline").glob("*.png")} == {"training.png", "adaptation.png", "tasks.png"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "no command named 'trian'; did you mean 'train'?"),
        ("train mamll sinusoid", "no method named 'mamll'; did you mean 'maml'? There are: maml, fomaml,"),
        ("train maml sinusiod", "no problem named 'sinusiod'; did you mean 'sinusoid'?"),
        ("train prototypical-networks omniglot", "did you mean 'prototypical_networks'?"),
        ("train maml qqq", "no problem named 'qqq'. There are: sinusoid, glyphs, omniglot, arrays, multi_glyphs"),
        (
            "train prototypical_networks sinusoid --out DIR",
            "prototypical_networks solves few-shot classification; sinusoid is few-shot regression.",
        ),
        ("train maml sinusoid --out DIR --seed 1 --seed 2", "--seed must be given once; got it 2 times."),
        ("train maml sinusoid --out DIR --inner_rate=1 --inner-rate 2", "--inner-rate must be given once; got it 2 times."),
        ("train maml sinusoid --out DIR --baseline --no-baseline", "--baseline must be given once; got it 2 times."),
        ("train maml arrays --out DIR", "path must name an .npz file for arrays; got None."),
        ("train maml sinusoid --out DIR --stpes 3", "--steps INT"),
        ("train maml sinusoid --out DIR --steps many", "invalid literal"),
        ("train maml sinusoid --out DIR --steps 0", "steps must be above 0 and below 2^31; got 0."),
        ("train maml sinusoid", "--out"),
        ("train maml glyphs --out DIR --classes 1", "classes must be between the ways, 5, and 2^30; got 1."),
        ("train maml omniglot --out DIR --evaluation-ways 7", "evaluation_ways must be the ways of training for maml; got 7"),
        ("list methods", "list takes nothing after it; got 'methods'."),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_is_right(line, words, tmp_path, capsys):
    assert main(line.replace("DIR", str(tmp_path / "run")).split()) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("line", ["", "train", "train maml", "evaluate", "resume", "plot"])
def test_half_a_command_exits_with_2_and_shows_the_usage(line, capsys):
    assert main(line.split()) == 2
    assert "usage: jmeta" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["--help", "train --help", "train maml --help", "evaluate --help", "resume --help", "plot --help"])
def test_help_helps(line, capsys):
    assert main(line.split()) == 0
    assert "usage: jmeta" in capsys.readouterr().out


@pytest.mark.parametrize("pair", [("imaml", "sinusoid"), ("prototypical_networks", "omniglot"), ("reptile", "arrays")])
def test_every_option_has_a_line_of_help(pair, capsys):
    config = default_config(*pair)
    assert main(["train", *pair, "--help"]) == 0
    text = " ".join(re.sub("[│─╭╮╰╯]|-{3,}", " ", capsys.readouterr().out).split())
    assert "--out PATH folder of the run" in text
    sections = [getattr(config, section) for section in SECTIONS]
    for part in (part for section in sections for part in (section, *vars(section).values()) if dataclasses.is_dataclass(part)):
        for field in (field for field in dataclasses.fields(part) if not dataclasses.is_dataclass(getattr(part, field.name))):
            (meaning,) = re.findall(rf"^ +{field.name}: (.*)$", type(part).__doc__, re.MULTILINE)
            name = field.name.replace("_", "-")
            assert re.search(rf"--{name}(, --no-{name})? [^-]*{re.escape(meaning)}", text), name
    assert {name for section in sections for name, _ in values_of(section)} >= {"steps", "evaluation_steps"}


def test_list_is_a_table_of_methods_against_problems(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for family, methods in FAMILIES.items():
        (head,) = (line for line in lines if line.startswith(f"{family} "))
        for name, method in methods.items():
            (line,) = (line for line in lines if line.startswith(f"  {name} "))
            assert line.endswith(method.description)
            assert head.split(" each on ")[1].split(", ") == [problem for problem in PROBLEMS if solves(name, problem)]
    for name, problem in PROBLEMS.items():
        assert any(line.startswith(f"{name} ") and line.endswith(problem.description) for line in lines)
    assert max(map(len, lines)) <= 132


def test_a_method_lists_the_problems_that_it_solves(capsys):
    assert main(["train", "pretraining", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: jmeta train pretraining PROBLEM --out DIR" in printed
    assert "\nsinusoid " in printed
    assert "omniglot" not in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jmeta {jmeta.__version__}\n"


def test_a_reader_that_leaves_is_no_error():
    command = [sys.executable, "-m", "jmeta", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == command_line.UNREAD


@pytest.mark.parametrize("command", ["evaluate", "resume", "plot"])
def test_a_directory_without_a_run_exits_with_1(command, tmp_path, capsys):
    assert main([command, str(tmp_path)]) == 1
    assert f"directory {tmp_path} holds no run" in capsys.readouterr().err


def test_a_damaged_config_exits_with_1_and_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert main(["resume", str(tmp_path)]) == 1
    assert f"file {tmp_path / 'config.json'} is damaged" in capsys.readouterr().err


def test_a_damaged_evaluation_exits_with_1_and_is_named(run, tmp_path, capsys):
    shutil.copytree(run[0], tmp_path / "copy")
    (tmp_path / "copy" / "evaluation.json").write_text('{"after_steps": 3}')
    assert main(["plot", str(tmp_path / "copy")]) == 1
    assert f"file {tmp_path / 'copy' / 'evaluation.json'} is damaged" in capsys.readouterr().err


def test_a_directory_with_a_run_is_not_overwritten(run, capsys):
    before = (run[0] / "config.json").read_bytes()
    assert main([*TRAIN, "--seed", "5", "--out", str(run[0])]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (run[0] / "config.json").read_bytes() == before


def test_a_loss_that_is_not_finite_exits_with_1(tmp_path, capsys):
    assert main([*TRAIN, "--inner-rate", "1e9", "--no-baseline", "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "the loss is not finite at step 1" in error
    assert "Traceback" not in error


def test_missing_data_exits_with_1_and_says_what_to_put_where(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("JMETA_DATA", raising=False)
    assert main(["train", "maml", "omniglot", "--out", str(tmp_path / "run")]) == 1
    assert "put images_background.zip" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "command", "words"),
    [
        ("tyro", TRAIN, "pip install 'jmeta[cli]'"),
        ("matplotlib.figure", ["plot"], "pip install 'jmeta[plot]'"),
    ],
)
def test_a_missing_extra_exits_with_1_and_says_how_to_install_it(module, command, words, run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main([*command, str(run[0])]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("problem", [None, "one step needs 9 GB."])
def test_the_cost_is_said_before_the_run_and_is_no_part_of_it(problem, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "does_not_fit", lambda cost: problem)
    monkeypatch.setattr(command_line, "train_run", lambda *_: command_line._say("the run"))
    monkeypatch.setattr(command_line, "_report", lambda *_: 0)
    assert main([*TRAIN, "--cost", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    table, _, rest = printed.out.partition("\n\n")
    assert rest == "the run\n"
    assert printed.err == ("" if problem is None else f"warning: {problem}\n")
    title, *rows = table.splitlines()
    assert title == "cost of one training step:"
    assert [row[2:30].strip() for row in rows] == [
        *("products and convolutions", "memory traffic, loops once", "temporary memory", "arguments", "compilation"),
    ]
    assert "cost" not in json.loads((tmp_path / "run" / "config.json").read_text())
    # Two tasks; layers of 1 x 4, 4 x 4 and 4 x 1 on 3 support and 10 query rows, 2 per multiply-add. A pass goes forwards, to the
    # weights and, but for the first layer, back to the inputs; the products with the Hessian come on top.
    amount, unit = rows[0].split()[-2:]
    assert unit == "kFLOP"
    assert float(amount) * 1e3 > 2 * 2 * (3 + 10) * (3 * 24 - 4)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The folder of the compilation cache of a user who has set nothing; what this process was given comes back."""
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    given = {name: getattr(jax.config, name) for name in (cache.FOLDER, cache.LEAST)}
    for variable in map(str.upper, given):
        monkeypatch.delenv(variable, raising=False)
    jax.config.update(cache.FOLDER, None)
    jax_cache.reset_cache()
    yield tmp_path / "jmeta" / "compilation"
    for name, value in given.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


def settings():
    return jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs


def compile_something(*_):
    jax.jit(lambda x: x * 3 + 4)(np.float32(1))
    return 0


def test_compiled_programs_are_kept_in_a_folder_of_the_users_own(cached, monkeypatch):
    before = settings()
    seen = []
    monkeypatch.setattr(command_line, "_dispatch", lambda words: seen.append(settings()) or compile_something())
    assert main(["list"]) == 0
    assert seen == [(str(cached), 0.0)]
    assert cached.stat().st_mode & 0o777 == 0o700
    kept = list(cached.iterdir())
    assert kept
    # What is compiled after the command is not kept.
    assert settings() == before
    jax.jit(lambda x: x * 5 + 6)(np.float32(1))
    assert list(cached.iterdir()) == kept


def test_the_variable_moves_the_cache_and_turns_it_off(cached, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_dispatch", compile_something)
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert main(["list"]) == 0
    assert not cached.parent.exists()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "elsewhere"))
    assert main(["list"]) == 0
    assert list((tmp_path / "elsewhere").iterdir())
    assert not cached.parent.exists()
    assert capsys.readouterr().err == ""


def test_a_cache_that_jax_has_been_given_stays(cached, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(command_line, "_dispatch", lambda words: seen.append(settings()) or 0)
    given = str(tmp_path / "given")
    before = settings()
    jax.config.update("jax_compilation_cache_dir", given)
    try:
        assert main(["list"]) == 0
    finally:
        jax.config.update("jax_compilation_cache_dir", before[0])
    assert seen == [(given, before[1])]
    assert not cached.parent.exists()


@pytest.mark.parametrize("obstacle", ["a file", "a folder of somebody else", "a folder that others may write"])
def test_a_folder_that_cannot_be_trusted_turns_the_cache_off(obstacle, cached, monkeypatch, capsys):
    if obstacle == "a file":
        cached.parent.write_text("")
    else:
        cached.mkdir(parents=True)
        cached.chmod(0o770 if "others" in obstacle else 0o700)
    if "somebody" in obstacle:
        monkeypatch.setattr(cache.os, "getuid", lambda: cached.stat().st_uid + 1)
    before = settings()
    monkeypatch.setattr(command_line, "_dispatch", lambda words: int(settings() != before))
    assert main(["list"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jmeta: no compilation cache: ")
    assert str(cached) in line
    assert line.endswith("give another folder by JMETA_COMPILATION_CACHE=DIR, or JMETA_COMPILATION_CACHE=off.")


@pytest.fixture
def drawings(tmp_path):
    """An archive like Omniglot's, of noise: 8, 6 and 6 characters."""
    images = np.random.default_rng(0).integers(0, 2, (20, 20, 28, 28), np.uint8) * 255
    splits = {"train": range(8), "val": range(8, 14), "test": range(14, 20)}
    classes = {f"vinyals_{name}": np.array([[index, 0] for index in rows], np.int16) for name, rows in splits.items()}
    np.savez(tmp_path / "omniglot28.npz", images=images, **classes)
    return tmp_path


def test_prototypical_networks_on_images_from_training_to_more_ways(drawings, tmp_path, capsys):
    options = (
        "--steps 2 --steps-per-chunk 1 --channels 4 --ways 6 --shots 1 --queries 2 --evaluation-ways 5 --evaluation-queries 2 "
        "--episodes 5 --validation-episodes 2 --normalization group"
    )
    directory = tmp_path / "run"
    assert (
        main(["train", "prototypical_networks", "omniglot", *options.split(), "--path", str(drawings), "--out", str(directory)])
        == 0
    )
    found = json.loads((directory / "evaluation.json").read_text())
    assert (found["metric"], list(found["after_steps"]), found["transductive"]) == ("accuracy", ["as trained"], False)
    assert (found["ways"], found["sizes"]) == (5, {"support": 5, "query": 10, "ways": 5})
    assert 0 < found["after_steps"]["as trained"]["mean"] < 1
    assert found["references"] == {"guessing": {"expected": 0.2}}
    assert {path.name for path in directory.glob("*.png")} == {"training.png"}
    assert "5 ways, 1 shots, 2 queries; normalisation group, not transductive" in capsys.readouterr().out
    # The data may be gone when a run is loaded.
    (drawings / "omniglot28.npz").unlink()
    learner, params = jmeta.load(directory)
    support = jmeta.Batch(np.zeros((5, 28, 28, 1), np.float32), np.arange(5))
    adapted = learner.adapt(params, jax.random.key(0), support, classes=np.ones(5, bool))
    assert learner.predict(params, adapted, support.x).shape == (5, 5)


def test_images_need_no_data(tmp_path):
    sizes = "--steps 2 --steps-per-chunk 1 --tasks-per-step 1 --channels 4 --ways 2 --queries 1 --size 8 --jitter 0 --classes 3"
    test = "--evaluation-ways 3 --evaluation-queries 1 --episodes 3 --validation-episodes 2"
    directory = tmp_path / "run"
    assert main(["train", "prototypical_networks", "glyphs", *sizes.split(), *test.split(), "--out", str(directory)]) == 0
    found = json.loads((directory / "evaluation.json").read_text())
    # Without jitter the queries are the support.
    assert (found["sizes"], found["after_steps"]["as trained"]["mean"]) == ({"support": 3, "query": 3, "ways": 3}, 1)
    assert found["references"] == {"guessing": {"expected": 1 / 3}}
