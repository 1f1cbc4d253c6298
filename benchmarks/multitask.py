"""Several tasks at once, in leagues: ``python -m benchmarks.multitask LEAGUE [JOB ...] [--seeds N] [--list]``.

A league is a problem of the command line and the jobs that are compared on it, each a way of sharing and what becomes of the
losses or gradients, ``WAY`` or ``WAY+COMBINING``. A run is that of ``jmeta train WAY PROBLEM --combining COMBINING --seed SEED``,
chosen on validation examples and reported once on test examples. Each writes
``benchmarks/results/multitask-LEAGUE-WAY-COMBINING-SEED.json`` with settings, seeds, versions, minutes and intervals; runs that
have their file already are left out, and an interrupted one goes on where it was when it is started again.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accuracy import RESULTS, origin
from benchmarks.defaults import clock
from jmeta._catalogue.config import write_config
from jmeta._catalogue.multitask_results import evaluate_multitask_run
from jmeta._catalogue.options import Config, values_of, with_values
from jmeta._catalogue.runs import train_run
from jmeta._catalogue.tables import SHARING, default_config
from jmeta._reporting import read_metrics

RUNS = Path("runs") / "multitask"
EQUAL = "equal_weighting"
HARD = "hard_parameter_sharing"
INDEPENDENT = "independent_networks"


class Job(NamedTuple):
    """What is compared: a way of sharing, and what becomes of the losses or gradients."""

    sharing: str
    combining: str = EQUAL


class League(NamedTuple):
    """A problem, what is compared on it, and the options that all have in common."""

    problem: str
    jobs: tuple[Job, ...]
    values: Mapping[str, Any] = {}


WEIGHTED = ("uncertainty_weighting", "famo", "geometric_loss_strategy", "pcgrad", "mgda", "cagrad", "nash_mtl", "aligned_mtl")
LEAGUES = {
    "nyuv2": League(
        "nyuv2",
        (Job(INDEPENDENT), *(Job(name) for name in SHARING if name != INDEPENDENT), *(Job(HARD, name) for name in WEIGHTED)),
        {"steps": 800},
    ),
    "multi_mnist": League(
        "multi_mnist",
        (
            Job(INDEPENDENT),
            Job(HARD),
            *(Job(HARD, name) for name in ("pcgrad", "mgda", "cagrad", "imtl_g", "uncertainty_weighting")),
        ),
    ),
    "multi_glyphs": League(
        "multi_glyphs",
        (Job(INDEPENDENT), *(Job(name) for name in SHARING if name != INDEPENDENT), Job(HARD, "pcgrad"), Job(HARD, "cagrad")),
    ),
}


def name_of(job: Job) -> str:
    """Names a job as it is typed."""
    return job.sharing if job.combining == EQUAL else f"{job.sharing}+{job.combining}"


def path_of(league: str, job: Job, seed: int) -> Path:
    """Names the file of a run."""
    return RESULTS / f"multitask-{league}-{job.sharing}-{job.combining}-{seed}.json"


def expected(league: League, job: Job, seed: int) -> Config:
    """Gives the options of a run."""
    return with_values(default_config(job.sharing, league.problem), **league.values, combining=job.combining, seed=seed)


def run(name: str, job: Job, seed: int) -> dict[str, Any]:
    """Trains, or goes on training, tests, and puts together what the result file holds."""
    directory, config = RUNS / f"{name}-{name_of(job)}-{seed}", expected(LEAGUES[name], job, seed)
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory, config)
    with clock(directory / "seconds"):
        train_run(directory, config, print)
    tested = evaluate_multitask_run(directory, config)
    validated = [line for line in read_metrics(directory) if "validation/loss" in line]
    return {
        "league": name,
        "job": name_of(job),
        "seed": seed,
        "scores": {task: {metric: one._asdict() for metric, one in found.items()} for task, found in tested.scores.items()},
        "constant": {task: {metric: one.mean for metric, one in found.items()} for task, found in tested.constant.items()},
        "examples": dict(tested.counts),
        "training_minutes": float((directory / "seconds").read_text()) / 60,
        "best_step": min(validated, key=lambda line: line["validation/loss"])["step"],
        "parameters_chosen_by": "lowest mean loss on validation examples",
        "settings": {
            key: value
            for part in ("method", "tasks", "test", "network", "training")
            for key, value in values_of(getattr(config, part))
        },
    } | origin()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("league", choices=LEAGUES)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="all of the league by default")
    parser.add_argument("--seeds", type=int, default=1, help="so many, from 0")
    parser.add_argument("--list", action="store_true", help="say what there is to run, and whether it has its file")
    options = parser.parse_args()
    jobs = {name_of(job): job for job in LEAGUES[options.league].jobs}
    if unknown := sorted(set(options.jobs) - set(jobs)):
        sys.exit(f"expected jobs among {', '.join(jobs)}; got {unknown[0]}.")
    RESULTS.mkdir(exist_ok=True)
    for seed in range(options.seeds):
        for name in options.jobs or jobs:
            path = path_of(options.league, jobs[name], seed)
            if options.list:
                print(f"{name} {seed}: {'done' if path.exists() else 'to do'}")
            elif not path.exists():
                path.write_text(json.dumps(run(options.league, jobs[name], seed), indent=1) + "\n")


if __name__ == "__main__":
    main()
