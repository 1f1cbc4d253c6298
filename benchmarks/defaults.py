"""Every default of the command line, to its end: ``python -m benchmarks.defaults [METHOD PROBLEM ...] [--again]``.

Runs what ``jmeta train METHOD PROBLEM`` runs, without options and without a baseline beside it, for every method that solves a
problem whose data is there, or for the pairs that are named; ``arrays`` is tried with each file of ``own_data.py``. Each writes
``benchmarks/results/defaults-METHOD-PROBLEM.json`` with settings, seeds, versions, minutes and intervals, and whether predicting
nothing (zero, the mean, or any class by chance) was beaten; pairs that have their file already are left out. An interrupted one
goes on where it was when it is started again.
"""

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import own_data
from benchmarks.accuracy import RESULTS, result_of_run
from jmeta._catalogue.config import read_config, write_config
from jmeta._catalogue.options import Config, with_values
from jmeta._catalogue.recipes import prepared
from jmeta._catalogue.results import Measured
from jmeta._catalogue.runs import Tested, evaluate_run, train_run
from jmeta._catalogue.tables import FEW_SHOT_PROBLEMS, LEARNERS, default_config, solves

RUNS = Path("runs") / "defaults"
OWN = "arrays"
PAIRS = [(method, problem) for problem in FEW_SHOT_PROBLEMS if problem != OWN for method in LEARNERS if solves(method, problem)]
PAIRS += [(method, name) for name, (kind, _) in own_data.FILES.items() for method, row in LEARNERS.items() if kind in row.solves]


def path_of(method: str, problem: str) -> Path:
    """Names the file of a pair."""
    return RESULTS / f"defaults-{method}-{problem}.json"


def run(method: str, problem: str) -> dict[str, Any]:
    """Trains, or goes on training, tests, and puts together what the result file holds."""
    directory, config = RUNS / f"{method}-{problem}", expected(method, problem)
    if config.problem_name == OWN:
        own_data.write(problem, RUNS)
    directory.mkdir(parents=True, exist_ok=True)
    config = prepared(config, print)
    write_config(directory, config)
    with clock(directory / "seconds"):
        train_run(directory, config, print)
    minutes = float((directory / "seconds").read_text()) / 60
    # As training has left it, which chooses the step size of a fine-tuning.
    config = read_config(directory)
    tested = evaluate_run(directory, config)
    return result_of_run(f"{method}-{problem}", directory, tested, minutes) | verdict(problem, config, tested)


def expected(method: str, problem: str) -> Config:
    """Gives the options as they are before the data is looked at."""
    if problem in own_data.FILES:
        return with_values(default_config(method, OWN), path=str(RUNS / f"{problem}.npz"))
    return dataclasses.replace(default_config(method, problem), baseline=False)


def verdict(problem: str, config: Config, tested: Tested) -> dict[str, Any]:
    """Compares the score after the last step, for which the parameters were chosen, with predicting nothing."""
    reached, nothing = tested.evaluation.after_steps[-1], score_of(next(iter(tested.references.values())))
    higher = tested.evaluation.metric == "accuracy"
    beaten = reached.mean - reached.half_width > nothing if higher else reached.mean + reached.half_width < nothing
    return {
        "method": config.method_name,
        "problem": problem,
        "reached": reached._asdict() | {"steps": tested.evaluation.steps[-1]},
        "nothing": nothing,
        "beaten": bool(beaten),
    }


def score_of(measured: Measured) -> float:
    """Gives what a prediction that ignores the support scores: on the same tasks if it was measured, else as expected."""
    return measured.expected if measured.estimate is None else measured.estimate.mean


@contextlib.contextmanager
def clock(path: Path) -> Iterator[None]:
    """Adds the seconds of its block to those that a file holds, also where the block is interrupted."""
    spent, start = float(path.read_text()) if path.exists() else 0.0, time.monotonic()
    try:
        yield
    finally:
        path.write_text(str(spent + time.monotonic() - start))


def chosen(words: list[str]) -> list[tuple[str, str]]:
    """Reads pairs; without any gives all."""
    if not words:
        return PAIRS
    pairs = list(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or (wrong := [pair for pair in pairs if pair not in PAIRS]):
        known = ", ".join(" ".join(pair) for pair in PAIRS)
        sys.exit(f"expected METHOD PROBLEM, again and again, of {known}; got {' '.join(words if len(words) % 2 else wrong[0])}.")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", metavar="METHOD PROBLEM", help="all whose data is there by default")
    parser.add_argument("--again", action="store_true", help="also those that have a file already, from the beginning")
    options = parser.parse_args()
    lost = []
    RESULTS.mkdir(exist_ok=True)
    for method, problem in chosen(options.pairs):
        if options.again:
            shutil.rmtree(RUNS / f"{method}-{problem}", ignore_errors=True)
        elif path_of(method, problem).exists():
            continue
        try:
            result = run(method, problem)
        except FileNotFoundError as error:
            print(f"{method} {problem} is left out: {error}", file=sys.stderr)
            continue
        except FloatingPointError as error:
            lost.append(f"{method} {problem}: {error}")
            continue
        path_of(method, problem).write_text(json.dumps(result, indent=1) + "\n")
        print(method, problem, json.dumps(result["after_steps"]), flush=True)
        if not result["beaten"]:
            lost.append(
                f"{method} {problem} reached {result['reached']['mean']:.4g}; predicting nothing gives {result['nothing']:.4g}."
            )
    sys.exit("\n".join(lost) if lost else 0)


if __name__ == "__main__":
    main()
