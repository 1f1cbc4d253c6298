"""The test of a run on two domains, and the file that it writes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jmeta
from jmeta._catalogue.config import write_json
from jmeta._catalogue.domain_recipes import DomainRecipe, build_domains, predict
from jmeta._catalogue.options import Config
from jmeta._catalogue.recipes import best_params
from jmeta._catalogue.results import EVALUATION, evaluation_path, finite
from jmeta._estimates import Estimate
from jmeta._metrics.bootstrap import measure
from jmeta._reporting import read_metrics
from jmeta._types import Params
from jmeta.metrics import accuracy
from jmeta.transfer import LabelFreeScores

ORACLE = "oracle"
# What may choose a step, in words.
SCORES = {"source": "the loss on the source", "deep_embedded": "DEV", "entropy": "the entropy in the target"}


class Choice(NamedTuple):
    """What a score would have chosen.

    Attributes:
      step: of the training.
      target: the accuracy of its parameters on the test examples.
      source: likewise on the held-out examples of the source.
    """

    step: int
    target: float
    source: float


class DomainTested(NamedTuple):
    """A run, how it did in both domains, and the file that says so.

    Attributes:
      config: the options of the run.
      names: of the source and of the target.
      target: the accuracy on the test examples.
      source: likewise on the held-out examples of the source.
      constant: what the most frequent class of the source scores on the test examples.
      choices: by each score that needs no target labels, and by the oracle, which has them; empty where the training was another.
      examples: of the target, that were tested.
      transductive: whether they were trained on, without their labels.
      path: of the file.
    """

    config: Config
    names: tuple[str, str]
    target: Estimate
    source: Estimate
    constant: float
    choices: Mapping[str, Choice]
    examples: int
    transductive: bool
    path: Path


def evaluate_domain_run(directory: Path, config: Config) -> DomainTested:
    """Tests the kept parameters of a run and writes ``evaluation.json``; under another name where it was trained for others.

    Args:
      directory: where the run is written.
      config: its options, of which those of the testing may have changed.
    """
    recipe, path = build_domains(config), evaluation_path(directory, config)
    domains, params = recipe.domains, best_params(directory, recipe.course.state)
    target, source = (_estimated(config, recipe, params, batch) for batch in (domains.test, domains.validation))
    most_frequent = np.bincount(domains.source.y).argmax()
    # The choices were between steps that were tested on the examples of the run itself.
    choices = choices_of(read_metrics(directory)) if path.stem == EVALUATION else {}
    constant, transductive = float(np.mean(domains.test.y == most_frequent)), domains.test.x is domains.target.x
    tested = DomainTested(config, domains.names, target, source, constant, choices, len(domains.test.y), transductive, path)
    write_json(path, finite(_written(tested)))
    return tested


def accuracy_of_test(config: Config, recipe: DomainRecipe, params: Params) -> float:
    """Gives the accuracy on the test examples."""
    predictions = predict(config, recipe.model, params, recipe.domains.test)
    return float(np.mean(accuracy(predictions.outputs, predictions.targets)))


def choices_of(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Choice]:
    """Says what each score without target labels would have chosen, and what an oracle, from the lines of ``metrics.jsonl``."""
    lines = [line for line in metrics if "validation/loss" in line]

    def chosen(name: str, sign: int = 1) -> Choice:
        # In the precision in which training compares; null is a number that was not finite.
        scores = [math.inf if line[name] is None else sign * line[name] for line in lines]
        line = lines[int(np.argmin(np.array(scores, np.float32)))]
        return Choice(line["step"], line["validation/target_accuracy"], line["validation/source_accuracy"])

    if not lines:
        return {}
    free = {name: chosen(f"validation/{name}") for name in LabelFreeScores._fields}
    return free | {ORACLE: chosen("validation/target_accuracy", -1)}


def _estimated(config: Config, recipe: DomainRecipe, params: Params, batch: Any) -> Estimate:
    predictions = predict(config, recipe.model, params, batch)
    return measure(predictions, {"accuracy": accuracy}, seed=config.evaluation.evaluation_seed)["accuracy"]


def _written(tested: DomainTested) -> dict[str, Any]:
    return {
        "method": tested.config.method_name,
        "problem": tested.config.problem_name,
        "source": tested.names[0],
        "target": tested.names[1],
        "metric": "accuracy",
        "seed": tested.config.evaluation.evaluation_seed,
        "examples": tested.examples,
        "transductive": tested.transductive,
        "chosen_by": tested.config.training.choose_by,
        "scores": {"target": tested.target._asdict(), "source": tested.source._asdict()},
        "constant": tested.constant,
        "choices": {name: choice._asdict() for name, choice in tested.choices.items()},
        "jmeta": jmeta.__version__,
    }
