"""The tables of the leagues of multi-task learning, from the files that ``python -m benchmarks.multitask`` wrote."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.accuracy import RESULTS
from benchmarks.multitask import INDEPENDENT, LEAGUES, name_of
from benchmarks.wanted import HIGHER_IS_BETTER, LEAGUE_PUBLISHED, LEAGUE_REMARKS, LEAGUE_WANTED
from jmeta import Estimate, estimate, mean_rank, paired_delta_m
from jmeta._cli.report import PERCENT

# By seed, what a file holds.
Runs = Mapping[int, Mapping[str, Any]]


def league_tables() -> list[str]:
    """Makes a table for each league that has results."""
    return [league_table(league, runs) for league in LEAGUES if (runs := read(league))]


def read(league: str) -> dict[str, Runs]:
    """Reads the runs of a league by job and seed, jobs in its order."""
    found: dict[str, dict[int, Any]] = {name_of(job): {} for job in LEAGUES[league].jobs}
    for path in sorted(RESULTS.glob(f"multitask-{league}-*.json")):
        result = json.loads(path.read_text())
        found[result["job"]][result["seed"]] = result
    return {job: dict(sorted(runs.items())) for job, runs in found.items() if runs}


def league_table(league: str, jobs: Mapping[str, Runs]) -> str:
    """Makes the table of a league: metrics of every task, delta m, mean rank, minutes, and what was wanted and published."""
    better = directions(jobs)
    ranks = mean_rank({job: means(runs) for job, runs in jobs.items()}, higher_is_better=better)
    metrics = [f"{name}{', %' if is_percent(name) else ''} {'↑' if higher else '↓'}" for name, higher in better.items()]
    head = [league, *metrics, "Δm, % ↓", "mean rank ↓", "minutes", "seeds", "wanted", "published"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    wanted, published = LEAGUE_WANTED.get(league, {}), LEAGUE_PUBLISHED.get(league, {})
    for job, runs in jobs.items():
        minutes = sum(run["training_minutes"] for run in runs.values()) / len(runs)
        device = ", ".join(sorted({run["device"] for run in runs.values()}))
        cells = [job, *(cell(score(runs, name), name) for name in better), change(runs, jobs.get(INDEPENDENT, {}), better)]
        cells += [f"{ranks[job]:.2f}", f"{minutes:.1f} ({device})", f"{len(runs)}"]
        lines.append(f"| {' | '.join([*cells, wanted.get(job, wanted.get('', '')), published.get(job, '')])} |")
    return "\n".join([*lines, "", remarks(league, jobs)])


def directions(jobs: Mapping[str, Runs]) -> dict[str, bool]:
    """Says of each metric of each task whether it is better the higher it is, in the order of the files."""
    scores = next(iter(next(iter(jobs.values())).values()))["scores"]
    return {f"{task} {metric}": HIGHER_IS_BETTER[metric] for task, found in scores.items() for metric in found}


def flat(run: Mapping[str, Any]) -> dict[str, Estimate]:
    """Gives the scores of a run by task and metric in one."""
    return {f"{task} {metric}": Estimate(**one) for task, found in run["scores"].items() for metric, one in found.items()}


def means(runs: Runs) -> dict[str, float]:
    """Gives each score, the mean over seeds."""
    rows = [flat(run) for run in runs.values()]
    return {name: sum(row[name].mean for row in rows) / len(rows) for name in rows[0]}


def score(runs: Runs, name: str) -> Estimate:
    """Gives a score with its interval: over seeds where there are several, over test examples where there is one."""
    found = [flat(run)[name] for run in runs.values()]
    return estimate([one.mean for one in found]) if len(found) > 1 else found[0]


def change(runs: Runs, baseline: Runs, better: Mapping[str, bool]) -> str:
    """Writes delta m against independent networks, of the seeds that both have."""
    seeds = sorted(runs.keys() & baseline.keys())
    if not seeds or runs is baseline:
        return ""
    ours, theirs = (
        {seed: {name: one.mean for name, one in flat(found[seed]).items()} for seed in seeds} for found in (runs, baseline)
    )
    found = paired_delta_m(ours, theirs, higher_is_better=better)
    return f"{found.mean:.2f}" + (f" ± {found.half_width:.2f}" if len(seeds) > 1 else "")


def remarks(league: str, jobs: Mapping[str, Runs]) -> str:
    """Says what the intervals are of, how parameters were chosen, and what published numbers are worth."""
    every = [run for runs in jobs.values() for run in runs.values()]
    counts = sorted({f"{count:,}" for run in every for count in run["examples"].values()})
    chosen = " and ".join(sorted({run["parameters_chosen_by"] for run in every}))
    text = (
        "Means and 95 % intervals: over seeds where a job has several, bootstrapped over the "
        f"{' or '.join(counts)} test examples where it has one. Δm against {INDEPENDENT}, of equal seeds. Parameters: {chosen}. "
        "Minutes are of a clock on the wall, of jobs that shared two cores and now and then stood still."
    )
    return f"{text} {LEAGUE_REMARKS[league]}" if league in LEAGUE_REMARKS else text


def is_percent(name: str) -> bool:
    """Tells the metrics that are written in percent."""
    return any(name.endswith(f" {metric}") for metric in PERCENT)


def cell(found: Estimate, name: str) -> str:
    """Writes a score."""
    scale, digits = (100, 2) if is_percent(name) else (1, 3)
    return f"{scale * found.mean:.{digits}f} ± {scale * found.half_width:.{digits}f}"
