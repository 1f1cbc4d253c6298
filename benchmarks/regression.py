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
compiled = lambda: jax.jit(step).lower(state, data).compile()
cost, program = jmeta.cost(step, state, data), compiled()
run = lambda: jax.block_until_ready(program(state, data))
run()
begin = time.perf_counter()
run()
count = max(1, round(minimum / (time.perf_counter() - begin)))
print(json.dumps({"flops": cost.flops, "temporary_bytes": cost.temporary_bytes}), flush=True)
for line in sys.stdin:
    repeat, work = (1, compiled) if line == "compile\\n" else (count, run)
    jax.clear_caches()
    begin = time.perf_counter()
    for _ in range(repeat):
        work()
    print(json.dumps((time.perf_counter() - begin) / repeat), flush=True)
"""


def compare(trees: list[Path], job: str, rounds: int, compilations: int) -> dict[str, Any]:
    """Times one job in two trees, the second over the first."""
    with workers(trees, json.dumps([*JOBS[job], 0.2])) as started:
        steps, compiling = (
            [both(started, what, at) for at in range(count)] for what, count in (("step", rounds), ("compile", compilations))
        )
    earlier, later = (worker.cost for worker in started)
    return {
        **summary("time", steps),
        **summary("compile", compiling),
        "flops_ratio": later["flops"] / earlier["flops"],
        "memory_ratio": later["temporary_bytes"] / earlier["temporary_bytes"],
    }


def both(started: list["Worker"], what: str, repeat: int) -> list[float]:
    """Times both once; every other time the later first: whoever comes second finds a warmer machine, or a busier one."""
    order = started[::-1] if repeat % 2 else started
    seconds = [answer(worker.process, what) for worker in order]
    return seconds[::-1] if repeat % 2 else seconds


def summary(name: str, pairs: list[list[float]]) -> dict[str, Any]:
    """Gives the median ratio of pairs of seconds, its standard error as the quartiles give it, and the median seconds."""
    ratios = [later / earlier for earlier, later in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        f"{name}_ratio": statistics.median(ratios),
        # That of a median is 1.253 of that of a mean; of a normal distribution the quartiles are 1.349 standard deviations apart.
        f"{name}_ratio_error": 1.253 * (high - low) / 1.349 / len(ratios) ** 0.5,
        f"{name}_seconds": [statistics.median(column) for column in zip(*pairs, strict=True)],
    }


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
    parser.add_argument("--compilations", type=int, default=16, help="of each in turn")
    options = parser.parse_args()
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / name for name in ("earlier", "later")]
        for tree, revision in zip(trees, (options.revision, "HEAD"), strict=True):
            subprocess.run(["git", "worktree", "add", "--detach", str(tree), revision], cwd=ROOT, check=True, capture_output=True)
        try:
            for number in map(int, options.jobs.split(",")):
                job = list(JOBS)[number]
                results[job] = compare(trees, job, options.rounds, options.compilations) | origin(options.revision)
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
