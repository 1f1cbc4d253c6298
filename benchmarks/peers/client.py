"""Talks to a worker in the peers' environment: JSON lines over its standard streams, arrays in ``.npz`` files."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]


class Worker(NamedTuple):
    """A process that computes only while it answers."""

    process: subprocess.Popen[str]
    folder: Path
    threads: int


@contextlib.contextmanager
def start_worker(python: Path, folder: Path, threads: int, device: str) -> Iterator[Worker]:
    """Starts a worker whose PyTorch uses ``threads`` threads, and ends it afterwards."""
    command = [str(python), "-m", "benchmarks.peers.torch_worker", "--threads", str(threads), "--device", device]
    # OpenMP's waiting threads spin for a few milliseconds and then sleep, unless a variable of the user's says otherwise.
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    variables = inherited | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=variables)
    try:
        yield Worker(process, folder, threads)
    finally:
        process.stdin.close()
        process.wait()


def ask(worker: Worker, do: str, **arguments: Any) -> dict[str, Any]:
    """Sends a request and waits for the answer.

    Raises:
      RuntimeError: if the worker ended, or could not do it.
    """
    if worker.process.poll() is None:
        worker.process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
        worker.process.stdin.flush()
    line = worker.process.stdout.readline()
    if not line:
        raise RuntimeError(f"the worker with {worker.threads} threads ended when asked to {do}; its error is above.")
    answer = json.loads(line)
    if "error" in answer:
        raise RuntimeError(f"the worker with {worker.threads} threads could not {do} {arguments}: {answer['error']}")
    return answer


def ask_gradient(worker: Worker, name: str) -> list[np.ndarray]:
    """Asks for the gradient of a contender at the parameters it has now."""
    path = worker.folder / "gradient.npz"
    ask(worker, "gradient", name=name, path=str(path))
    with np.load(path, allow_pickle=False) as found:
        return [found[name] for name in found.files]
