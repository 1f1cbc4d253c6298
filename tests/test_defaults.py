"""Every default of the command line was tried to its end, and beats predicting nothing."""

import dataclasses
import json

import pytest

import jmeta
from benchmarks import defaults
from jmeta._catalogue import runs
from jmeta._catalogue.results import Measured
from jmeta._catalogue.tables import default_config

FOUND = sorted(defaults.RESULTS.glob("defaults-*.json"))


def without_what_the_data_chooses(settings, expected):
    """Puts None where the default is None."""
    if isinstance(expected, dict):
        assert settings.keys() == expected.keys()
        return {key: without_what_the_data_chooses(settings[key], value) for key, value in expected.items()}
    return None if expected is None else settings


def test_every_default_has_a_result():
    assert sorted(defaults.path_of(*pair) for pair in defaults.PAIRS) == FOUND


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_result_is_of_todays_default_and_beats_predicting_nothing(path):
    found = json.loads(path.read_text())
    config = defaults.expected(found["method"], found["problem"])
    # As JSON knows it: without tuples.
    expected = json.loads(json.dumps(dataclasses.asdict(config)))
    del expected["data"]
    if found["method"] == "pretraining":
        assert found["settings"]["method"]["fine_tuning_rate"] in config.method.fine_tuning_rates
    settings = without_what_the_data_chooses(found["settings"], expected)
    assert settings == expected, "a default has changed: python -m benchmarks.defaults METHOD PROBLEM --again"
    assert found["beaten"]
    scores = [one["mean"] for one in found["after_steps"].values()]
    assert found["reached"]["mean"] == scores[-1]
    better = found["reached"]["mean"] > found["nothing"] if found["metric"] == "accuracy" else scores[-1] < found["nothing"]
    assert better


@pytest.mark.parametrize(
    ("metric", "mean", "nothing", "beaten"),
    [
        ("squared_error", 1.0, 2.0, True),
        # Within the interval of 0.5.
        ("squared_error", 1.6, 2.0, False),
        ("squared_error", float("nan"), 2.0, False),
        ("accuracy", 1.0, 0.2, True),
        ("accuracy", 0.6, 0.2, False),
    ],
)
def test_the_interval_decides_whether_nothing_is_beaten(metric, mean, nothing, beaten):
    steps = (jmeta.Estimate(9.0, 0.0), jmeta.Estimate(mean, 0.5))
    evaluation = jmeta.Evaluation(metric, (0, 3), steps, None, (0, 0), "none", False, 1.0, 0, {}, "")
    references = {"nothing": Measured(None, nothing), "something": Measured(None, 100.0)}
    found = defaults.verdict("sinusoid", default_config("maml", "sinusoid"), runs.Tested(None, evaluation, references, None))
    assert (found["beaten"], found["nothing"], found["reached"]["steps"]) == (beaten, nothing, 3)


def test_the_minutes_of_interrupted_trainings_add_up(tmp_path):
    path = tmp_path / "seconds"
    path.write_text("60.0")

    def interrupted():
        with defaults.clock(path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert float(path.read_text()) >= 60


def test_a_pair_that_is_none_gets_a_sentence():
    assert defaults.chosen(["anil", "sinusoid", "maml", "omniglot"]) == [("anil", "sinusoid"), ("maml", "omniglot")]
    assert defaults.chosen([]) == defaults.PAIRS
    for words in (["maml"], ["maml", "arrays"]):
        with pytest.raises(SystemExit, match=r"expected METHOD PROBLEM, again and again, of maml sinusoid, .*; got maml"):
            defaults.chosen(words)
