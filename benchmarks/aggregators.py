"""Aggregators against TorchJD's and against exact solutions, in float64: ``python -m benchmarks.aggregators``.

Of every aggregator that both have, and every situation in which gradients are hard to combine, it says how far the two are apart at
most, over the length of the result, and how far each is from what it should be, found in another way (``benchmarks/gradients.py``).
It says too how well each keeps the conditions of its problem. Writes ``benchmarks/results/agreement.json``; nothing is timed,
which is what ``python -m benchmarks.peers`` is for.
"""

import argparse
import importlib.metadata
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jmeta
from benchmarks.gradients import REMEMBERING, SITUATIONS, Rows, exact
from benchmarks.peers import ours
from benchmarks.peers.__main__ import ENVIRONMENT
from benchmarks.peers.client import Worker, ask, ask_gradient, start_worker
from benchmarks.peers.environment import make_environment, python_of
from benchmarks.peers.works import AGGREGATORS
from benchmarks.report import RESULTS

RESULT = RESULTS / "agreement.json"
TASKS = (2, 3, 8, 32)
SEEDS = (0, 1, 2)
PARAMETERS = 64
STEPS = 3  # of those that remember
KEY = 0
# More exact options of TorchJD exist for these.
TIGHTENED = ("gradvac", "mgda", "cagrad", "nash_mtl", "upgrad", "dual_projection", "fairgrad")
# Every gradient has one more parameter of its own, so short that its square is 0: what it becomes is the gradient's weight.
LABEL = 1e-200


def labelled(rows: Rows) -> Rows:
    """Adds a parameter to each of gradients ``[tasks, parameters]`` by which its weight is found again."""
    return np.hstack([rows, LABEL * np.eye(len(rows))])


def floored(length: float, rows: Rows) -> float:
    """Takes 1e-6 of the longest row for a length that is less, so that rounding of nothing is not taken for something."""
    return max(length, 1e-6 * np.linalg.norm(rows, axis=1).max())


def relative(found: np.ndarray, expected: np.ndarray, rows: Rows) -> float | None:
    """Gives a difference over the length of what is expected; None if it is not finite."""
    difference = float(np.linalg.norm(found - expected) / floored(np.linalg.norm(expected).item(), rows))
    return difference if np.isfinite(difference) else None


def conflict(rows: Rows, found: np.ndarray, weights: np.ndarray) -> float:
    """How far a direction points against a row at most: minus the least cosine, or 0."""
    del weights
    lengths = np.linalg.norm(rows, axis=1)
    cosines = rows[lengths > 0] @ found / lengths[lengths > 0] / floored(np.linalg.norm(found).item(), rows)
    return float(max(0.0, -cosines.min()))


def excess(rows: Rows, found: np.ndarray, weights: np.ndarray) -> float:
    """How much longer a vector is than the shortest of the convex hull, plus how far its weights are from being of the hull."""
    shortest = np.linalg.norm(exact("mgda", [rows], np.zeros(0))).item()
    outside = abs(weights.sum() - 1) - min(0.0, weights.min())
    return float((np.linalg.norm(found) - shortest) / floored(shortest, rows) + outside)


def residual(rows: Rows, found: np.ndarray, weights: np.ndarray) -> float:
    """The length of ``G a - 1 / a``, with G of length 1 as the authors have it, of the a of which the result is a multiple."""
    del found
    there = np.linalg.norm(rows, axis=1) > 0
    gramian = rows[there] @ rows[there].T
    gramian /= np.linalg.norm(gramian)
    shares = weights[there] * np.sqrt(there.sum() / (weights[there] @ gramian @ weights[there]))
    return float(np.linalg.norm(gramian @ shares - 1 / shares))


def reach(rows: Rows, found: np.ndarray, weights: np.ndarray) -> float:
    """How far a vector is from the mean gradient, over half of the mean's length, which is as far as it may be."""
    del weights
    mean = rows.mean(axis=0)
    return float(np.linalg.norm(found - mean) / floored(np.linalg.norm(mean).item() / 2, rows))


# What a solution fulfils, where there is one.
CONDITIONS: dict[str, Callable[[Rows, np.ndarray, np.ndarray], float]] = {
    "mgda": excess,
    "upgrad": conflict,
    "dual_projection": conflict,
    "nash_mtl": residual,
    "cagrad": reach,
}


def theirs(worker: Worker, name: str, history: Sequence[Rows], draws: np.ndarray, *, tightened: bool) -> np.ndarray | None:
    """Asks TorchJD; None where it fails."""
    work = {"kind": "aggregation", "aggregator": name, "tasks": len(history[0]), "tightened": tightened}
    path = worker.folder / "arrays.npz"
    np.savez(path, gradients=np.stack(history), draws=draws)
    ask(worker, "prepare", work=work, path=str(path))
    try:
        (found,) = ask_gradient(worker, "torchjd/contiguous")
    except RuntimeError:
        return None
    return found


def cases(name: str, worker: Worker) -> Iterator[dict[str, Any]]:
    """Compares an aggregator in one situation, for one number of tasks and one seed, after another."""
    key = jax.random.key(KEY)
    for tasks in TASKS:
        aggregator = ours.aggregator_of(name, tasks, shuffle=False)
        draws = np.asarray(jax.random.uniform(key, (PARAMETERS + tasks,)))
        for situation, draw in SITUATIONS.items():
            for seed in SEEDS:
                generator = np.random.default_rng(seed)
                history = [draw(generator, tasks, PARAMETERS) for _ in range(STEPS if name in REMEMBERING else 1)]
                gradients, state, combined = [labelled(rows) for rows in history], aggregator.init(tasks), None
                for step in gradients:
                    combined, state = aggregator.combine(jnp.asarray(step), state, key)
                found = {"ours": np.asarray(combined)}
                found["torchjd"] = theirs(worker, name, gradients, draws, tightened=False)
                if name in TIGHTENED:
                    found["torchjd, tightened"] = theirs(worker, name, gradients, draws, tightened=True)
                expected = exact(name, history, draws[:PARAMETERS])
                finite = bool(np.isfinite(found["ours"]).all())
                yield {"situation": situation, "finite": finite} | figures(name, found, expected, history[-1])


def figures(name: str, found: dict[str, np.ndarray | None], expected: np.ndarray | None, rows: Rows) -> dict[str, float | None]:
    """Says how far ours is from each of the others, and each from what is expected, and how it keeps the condition.

    None where TorchJD has no finite result.
    """
    results = {who: None if one is None else one[:PARAMETERS] for who, one in found.items()}
    compared = {f"{who} to ours": (result, results["ours"]) for who, result in results.items() if who != "ours"}
    if expected is not None:
        compared |= {f"{who} to exact": (result, expected) for who, result in results.items()}
    given = {text: None if one is None else relative(one, other, rows) for text, (one, other) in compared.items()}
    if name in CONDITIONS and expected is not None:
        kept = {who: (results[who], one[PARAMETERS:] / LABEL) for who, one in found.items() if one is not None}
        given |= {f"{who}, condition": CONDITIONS[name](rows, *both) for who, both in kept.items()}
    return {text: value if value is None or np.isfinite(value) else None for text, value in given.items()}


def largest(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarises the cases of one situation: the largest of every figure, and in how many TorchJD had no finite result."""
    texts = dict.fromkeys(text for case in found for text in case if text not in ("situation", "finite"))
    summary: dict[str, Any] = {"finite": all(case["finite"] for case in found)}
    for text in texts:
        known = [case[text] for case in found if text in case]
        summary[text] = max((value for value in known if value is not None), default=None)
        if failed := known.count(None):
            summary[f"{text}, failed"] = failed
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aggregators", default=",".join(AGGREGATORS), help="separated by commas; all by default")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="the peers' virtual environment, made if need be")
    parser.add_argument("--torch", default="torch==2.13.0", help="pip's requirement of PyTorch, with options such as --index-url")
    parser.add_argument("--ready", action="store_true", help="take the environment as it is")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    make = python_of if options.ready else lambda environment: make_environment(environment, options.torch)
    python = make(options.environment.absolute())
    packages = ("jax", "jaxlib", "numpy", "scipy")
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as folder, start_worker(python, Path(folder), 1, "cpu") as worker:
        versions = {name: importlib.metadata.version(name) for name in packages} | {"jmeta": jmeta.__version__}
        versions |= {name: version for name, version in ask(worker, "versions").items() if name in ("torch", "torchjd")}
        settings = {"tasks": TASKS, "parameters": PARAMETERS, "seeds": SEEDS, "key": KEY, "dtype": "float64", "steps": STEPS}
        for name in options.aggregators.split(","):
            found = list(cases(name, worker))
            situations = {text: largest([case for case in found if case["situation"] == text]) for text in SITUATIONS}
            results[name] = {"situations": situations, "settings": settings, "versions": versions}
            RESULT.write_text(json.dumps({known: results[known] for known in AGGREGATORS if known in results}, indent=1) + "\n")
            print(name, json.dumps(situations, indent=1), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("error", module="benchmarks")
    main()
