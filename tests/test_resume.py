"""Trainings in processes of their own: two of one seed are the same, and neither a kill nor a signal leaves a trace."""

import importlib
import signal
from pathlib import Path

import pytest

from jmeta import checkpointing
from jmeta._reporting import read_metrics


@pytest.fixture(scope="module")
def resume():
    """The benchmark, which kills twenty trainings where this kills three."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(Path(__file__).parents[1])
        yield importlib.import_module("benchmarks.resume")


@pytest.fixture(scope="module")
def reference(resume, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trainings") / "reference"
    resume.finish(resume.start(directory))
    return directory


def outcome(resume, directory):
    return (directory / "metrics.jsonl").read_bytes(), (directory / resume.FINAL).read_text()


def test_two_processes_of_one_seed_are_bitwise_equal(resume, reference, tmp_path):
    resume.finish(resume.start(tmp_path / "again"))
    assert outcome(resume, tmp_path / "again") == outcome(resume, reference)
    assert [line["step"] for line in read_metrics(reference)] == [*range(10, 200, 10), 195]


@pytest.mark.parametrize("seed", [104, 107, 117])
def test_a_killed_training_resumes_bitwise(seed, resume, reference, tmp_path):
    found = resume.trial(reference, tmp_path / "killed", seed)
    assert found["exit"] == -signal.SIGKILL
    assert found["killed_after_line"] <= found["lines_logged"] < resume.LINES
    assert outcome(resume, tmp_path / "killed") == outcome(resume, reference)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_of_the_last_line(number, code, resume, tmp_path):
    directory = tmp_path / "stopped"
    process = resume.start(directory)
    process.stdout.readline()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert not (directory / resume.FINAL).exists()
    assert checkpointing.steps(directory / "checkpoints")[-1] == read_metrics(directory)[-1]["step"]
