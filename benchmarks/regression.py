"""A training step of MAML here against that of an earlier revision, in turn: ``python -m benchmarks.regression REVISION``.

Both are checked out from git and run in processes of their own, which take turns step by step, so that both see the same noise.
Writes ``benchmarks/results/regression.json``.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "regression.json"
JOBS = {
    "sinusoid, 1 inner step": ("sinusoid_job", {"num_steps": 1}),
    "sinusoid, 5 inner steps": ("sinusoid_job", {"num_steps": 5}),
    "convolutional, 1 inner step": ("convolutional_job", {"num_steps": 1}),
    "convolutional, 5 inner steps": ("convolutional_job", {"num_steps": 5}),
}
WORKER = """
import json, sys, time
import jax, jmeta
from benchmarks.speed import jobs
name, options, minimum = json.loads(sys.argv[1])
step, state, data = getattr(jobs, name)(**options)
compilations = []
while len(compilations) < 2 or sum(compilations) < 8:
    jax.clear_caches()
    cost = jmeta.cost(step, state, data)
    compilations.append(cost.compile_seconds)
program = jax.jit(step).lower(state, data).compile()
run = lambda: jax.block_until_ready(program(state, data))
run()
begin = time.perf_counter()
run()
count = max(1, round(minimum / (time.perf_counter() - begin)))
costs = {"flops": cost.flops, "temporary_bytes": cost.temporary_bytes, "compile_seconds": min(compilations)}
print(json.dumps(costs), flush=True)
for line in sys.stdin:
    begin = time.perf_counter()
    for _ in range(count):
        run()
    print(json.dumps((time.perf_counter() - begin) / count), flush=True)
"""


def compare(trees: list[Path], job: str, rounds: int, processes: int) -> dict[str, Any]:
    """Times one job in two trees, the second over the first: steps by the median ratio, compiling by the quickest of all."""
    argument = json.dumps([*JOBS[job], 0.2])
    found: list[list[dict[str, float]]] = []
    times: list[list[float]] = []
    for repeat in range(processes):
        with workers(in_turn(trees, repeat), argument) as both:
            started = in_turn(both, repeat)
            found.append([worker.cost for worker in started])
            if len(found) == processes:
                times = [in_turn([answer(worker.process, "go") for worker in in_turn(started, at)], at) for at in range(rounds)]
    ratios = [later / earlier for earlier, later in times]
    last, compiled = found[-1], [min(pair[at]["compile_seconds"] for pair in found) for at in (0, 1)]
    return {
        "time_ratio": statistics.median(ratios),
        "time_ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "milliseconds": [1e3 * statistics.median(column) for column in zip(*times, strict=True)],
        "compile_ratio": compiled[1] / compiled[0],
        "compile_seconds": compiled,
        "flops_ratio": last[1]["flops"] / last[0]["flops"],
        "memory_ratio": last[1]["temporary_bytes"] / last[0]["temporary_bytes"],
    }


def in_turn(pair: list[Any], repeat: int) -> list[Any]:
    """Swaps a pair every other time: whoever comes second finds a warmer machine, or a busier one."""
    return pair[::-1] if repeat % 2 else pair


class Worker(NamedTuple):
    """A process with a compiled job, and what its step costs."""

    process: "subprocess.Popen[str]"
    cost: dict[str, float]


@contextlib.contextmanager
def workers(trees: list[Path], argument: str) -> Iterator[list[Worker]]:
    """Starts a process in each tree, one after another: two that compile at once would share the cores."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    with contextlib.ExitStack() as stack:
        started = []
        for tree in trees:
            command = [sys.executable, "-c", WORKER, argument]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, cwd=tree, env=environment | {"PYTHONPATH": str(tree)}, **pipes))
            stack.callback(process.kill)
            started.append(Worker(process, answer(process)))
        yield started


def answer(process: Any, question: str = "") -> Any:
    """Sends a line, if any, and reads one."""
    if question:
        process.stdin.write(question + "\n")
        process.stdin.flush()
    return json.loads(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="what HEAD is compared with, as git names it")
    parser.add_argument("--jobs", default=",".join(map(str, range(len(JOBS)))), help=f"numbers of: {', '.join(JOBS)}")
    parser.add_argument("--rounds", type=int, default=60, help="timings of each in turn")
    parser.add_argument("--processes", type=int, default=2, help="of each, in which it is compiled again and again")
    options = parser.parse_args()
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / name for name in ("earlier", "later")]
        for tree, revision in zip(trees, (options.revision, "HEAD"), strict=True):
            subprocess.run(["git", "worktree", "add", "--detach", str(tree), revision], cwd=ROOT, check=True, capture_output=True)
        try:
            for number in map(int, options.jobs.split(",")):
                job = list(JOBS)[number]
                results[job] = compare(trees, job, options.rounds, options.processes) | origin(options.revision)
                RESULT.write_text(json.dumps(results, indent=1) + "\n")
                print(job, results[job], flush=True)
        finally:
            for tree in trees:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True, capture_output=True)


def origin(revision: str) -> dict[str, Any]:
    """Says what was compared, and where."""
    named = [
        subprocess.run(["git", "rev-parse", "--short", name], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        for name in (revision, "HEAD")
    ]
    return {"revisions": named, "cores": os.cpu_count(), "versions": {name: version(name) for name in ("jax", "jaxlib", "optax")}}


if __name__ == "__main__":
    main()
