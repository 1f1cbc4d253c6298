"""Aggregators against TorchJD's and against exact solutions, in float64: ``python -m benchmarks.aggregators``.

Of every aggregator that both have, and every situation in which gradients are hard to combine, it says how far the two are apart at
most, over the length of the result. Where SciPy solves the problem from the gradients themselves (``benchmarks/gradients.py``), it
says how far each of the two is from that. Writes ``benchmarks/results/agreement.json``; nothing is timed, which is what
``python -m benchmarks.peers`` is for.
"""

import argparse
import importlib.metadata
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jmeta
from benchmarks.gradients import EXACT, SITUATIONS
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
# More exact options of TorchJD exist for these.
TIGHTENED = ("gradvac", "mgda", "cagrad", "nash_mtl", "upgrad", "dual_projection", "fairgrad")
KEY = 0


def relative(found: np.ndarray, expected: np.ndarray, rows: np.ndarray) -> float | None:
    """Gives a difference over the length of what is expected, or 1e-6 of the longest row if that is more; None if not finite."""
    scale = max(np.linalg.norm(expected), 1e-6 * np.linalg.norm(rows, axis=1).max())
    difference = float(np.linalg.norm(found - expected) / scale)
    return difference if np.isfinite(difference) else None


def theirs(worker: Worker, name: str, rows: np.ndarray, draws: np.ndarray, *, tightened: bool) -> np.ndarray | None:
    """Asks TorchJD; None where it fails."""
    work = {"kind": "aggregation", "aggregator": name, "tasks": len(rows), "tightened": tightened}
    path = worker.folder / "arrays.npz"
    np.savez(path, gradients=rows, draws=draws)
    ask(worker, "prepare", work=work, path=str(path))
    try:
        (found,) = ask_gradient(worker, "torchjd/contiguous")
    except RuntimeError:
        return None
    return found


def cases(name: str, worker: Worker) -> Iterator[dict[str, Any]]:
    """Compares an aggregator in one situation, for one number of tasks and one seed, after another."""
    key = jax.random.key(KEY)
    draws = np.asarray(jax.random.uniform(key, (PARAMETERS,)))
    for tasks in TASKS:
        combine = ours.aggregate_with(name, tasks, shuffle=False)
        for situation, draw in SITUATIONS.items():
            for seed in SEEDS:
                rows = draw(np.random.default_rng(seed), tasks, PARAMETERS)
                found = {"ours": np.asarray(combine(jnp.asarray(rows), key))}
                found["torchjd"] = theirs(worker, name, rows, draws, tightened=False)
                if name in TIGHTENED:
                    found["torchjd, tightened"] = theirs(worker, name, rows, draws, tightened=True)
                exact = EXACT[name](rows) if name in EXACT else None
                yield {"situation": situation, "finite": bool(np.isfinite(found["ours"]).all())} | distances(found, exact, rows)


def distances(found: dict[str, np.ndarray | None], exact: np.ndarray | None, rows: np.ndarray) -> dict[str, float | None]:
    """Says how far ours is from each of the others, and each from the exact solution; None where TorchJD has no finite result."""
    given = {f"{who} to ours": (theirs, found["ours"]) for who, theirs in found.items() if who != "ours"}
    if exact is not None:
        given |= {f"{who} to exact": (result, exact) for who, result in found.items()}
    return {text: None if one is None else relative(one, other, rows) for text, (one, other) in given.items()}


def largest(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarises the cases of one situation: the largest of every difference, and in how many TorchJD had no finite result."""
    differences = sorted({text for case in found for text in case if " to " in text}, key=lambda text: text.partition(" to ")[::-1])
    summary: dict[str, Any] = {"finite": all(case["finite"] for case in found)}
    for text in differences:
        known = [case[text] for case in found if text in case]
        summary[text] = max((value for value in known if value is not None), default=None)
        if failed := known.count(None):
            summary[f"{text}, failed"] = failed
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    available = [name for name in AGGREGATORS if hasattr(jmeta, name)]
    parser.add_argument("--aggregators", default=",".join(available), help="separated by commas; all by default")
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
        settings = {"tasks": TASKS, "parameters": PARAMETERS, "seeds": SEEDS, "key": KEY, "dtype": "float64"}
        for name in options.aggregators.split(","):
            found = list(cases(name, worker))
            situations = {text: largest([case for case in found if case["situation"] == text]) for text in SITUATIONS}
            results[name] = {"situations": situations, "settings": settings, "versions": versions}
            RESULT.write_text(json.dumps(results, indent=1) + "\n")
            print(name, json.dumps(situations, indent=1), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("error", module="benchmarks")
    main()
