"""What a test wrote: one file per protocol, which says what it was measured on."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jmeta
from jmeta._catalogue.config import read_config, write_json
from jmeta._catalogue.options import Config
from jmeta._estimates import Estimate
from jmeta.evaluation import Evaluation

EVALUATION = "evaluation"
# These change how fast a test is, and not what it measures.
NO_PROTOCOL = ("evaluation_batch",)


class Measured(NamedTuple):
    """How well a prediction that ignores the support did, and how well it was expected to do; None where that is not known."""

    estimate: Estimate | None
    expected: float | None


class Scores(NamedTuple):
    """What an evaluation file holds of an ``Evaluation``, and of the predictions that ignore the support.

    Attributes:
      metric: its name.
      steps: the numbers of adaptation steps; None where adapting is not iterative.
      after_steps: the estimate after each of these numbers of steps.
      references: scores to compare with.
    """

    metric: str
    steps: tuple[int | None, ...]
    after_steps: tuple[Estimate, ...]
    references: dict[str, Measured]


def suffix_of(directory: Path, config: Config) -> str:
    """Names how a test differs from the one that the run was trained for: ``-shots-10-steps-20``, nothing where it does not."""
    trained = read_config(directory)
    parts = [(trained.test, config.test), (trained.evaluation, config.evaluation)]
    found = []
    for before, now in parts:
        for field in dataclasses.fields(now):
            value = getattr(now, field.name)
            if field.name not in NO_PROTOCOL and value != getattr(before, field.name):
                words = field.name.removeprefix("evaluation_").replace("_", "-")
                found.append(f"-{words}-{'all' if value is None else value}")
    return "".join(found)


def evaluation_path(directory: Path, config: Config) -> Path:
    """Gives the place of the file of a test."""
    return directory / f"{EVALUATION}{suffix_of(directory, config)}.json"


def write_evaluation(directory: Path, config: Config, evaluation: Evaluation, references: Mapping[str, Measured]) -> Path:
    """Writes an evaluation file, of numbers that two runs of the same seed share, and gives its place."""
    path = evaluation_path(directory, config)
    estimates = zip(evaluation.steps, evaluation.after_steps, evaluation.diverged, strict=True)
    found = {
        "method": config.method_name,
        "problem": config.problem_name,
        "metric": evaluation.metric,
        **{name.removeprefix("evaluation_"): value for name, value in dataclasses.asdict(config.test).items()},
        "episodes": len(evaluation.values),
        "seed": evaluation.seed,
        "sizes": evaluation.sizes,
        "after_steps": {_key(steps): estimate._asdict() | {"diverged": count} for steps, estimate, count in estimates},
        "references": {
            name: {**({} if one.estimate is None else one.estimate._asdict()), "expected": one.expected}
            for name, one in references.items()
        },
        "normalization": evaluation.normalization,
        "transductive": evaluation.transductive,
        "first_episode": evaluation.episodes,
        "jmeta": jmeta.__version__,
    }
    write_json(path, finite(found))
    return path


def read_evaluation(path: Path) -> Scores | None:
    """Reads an evaluation file, None where there is none.

    Raises:
      ValueError: if it is damaged, naming the file.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        steps = tuple(None if key == _key(None) else int(key) for key in found["after_steps"])
        references = {
            name: Measured(_estimate(one) if "mean" in one else None, one["expected"]) for name, one in found["references"].items()
        }
        return Scores(found["metric"], steps, tuple(map(_estimate, found["after_steps"].values())), references)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"file {path} is damaged ({error!r}); write it again with jmeta evaluate {path.parent}.") from error


def _key(steps: int | None) -> str:
    return "as trained" if steps is None else str(steps)


def _estimate(found: Mapping[str, Any]) -> Estimate:
    """Reads an estimate; null is a number that was not finite."""
    mean, half_width = (math.nan if found[name] is None else float(found[name]) for name in Estimate._fields)
    return Estimate(mean, half_width)


def finite(value: Any) -> Any:
    """Puts null in the place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
