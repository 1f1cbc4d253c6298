"""The command: ``python -m benchmarks.peers``."""

import argparse
import contextlib
import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Both sides compute on one accelerator, and jax would take most of its memory for itself.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Tasks may be laid over the cores.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(os.cpu_count() or 1))

import jax

import jmeta
from benchmarks.peers import rows
from benchmarks.peers.client import Worker, ask, start_worker
from benchmarks.peers.environment import make_environment
from benchmarks.peers.measuring import measure
from benchmarks.peers.works import WORKS
from benchmarks.report import path_of

ENVIRONMENT = Path(__file__).parents[2] / "build" / "peers"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a bad value ends the process with status 2 and a sentence."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Time jmeta and its peers on the same work.")
    parser.add_argument("--works", default=",".join(WORKS), help=f"separated by commas, of {', '.join(WORKS)}; all by default")
    parser.add_argument("--rounds", type=int, default=11, help="how often each is timed in turn")
    parser.add_argument("--threads", default=None, help="of PyTorch, separated by commas; by default 1 and the number of cores")
    parser.add_argument("--minimum", type=float, default=0.2, help="seconds that a timing lasts at least")
    parser.add_argument("--data", help="a folder with the Omniglot archives; random images by default")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="the peers' virtual environment, made if need be")
    parser.add_argument("--torch", default="torch==2.13.0", help="pip's requirement of PyTorch, with options such as --index-url")
    parser.add_argument("--out", type=Path, help="the JSON file to write; named by the device in benchmarks/results by default")
    options = parser.parse_args(arguments)
    options.works = options.works.split(",")
    if unknown := [work for work in options.works if work not in WORKS]:
        parser.error(f"--works must be of {', '.join(WORKS)}; got {', '.join(unknown)}.")
    if options.rounds < 1 or options.minimum <= 0:
        parser.error(f"--rounds must be at least 1 and --minimum positive; got {options.rounds} and {options.minimum}.")
    threads = options.threads or ",".join(map(str, sorted({1, os.cpu_count() or 1})))
    if not all(part.isdecimal() and int(part) for part in threads.split(",")):
        parser.error(f"--threads must be positive whole numbers separated by commas; got {threads}.")
    options.threads = sorted({int(part) for part in threads.split(",")})
    if options.data is not None and not Path(options.data).is_dir():
        parser.error(f"--data must be a folder; got {options.data}.")
    return options


def context(workers: Sequence[Worker], device: str) -> dict[str, Any]:
    """Says where and with what a row was measured."""
    packages = ("jax", "jaxlib", "flax", "optax")
    versions = {name: importlib.metadata.version(name) for name in packages} | ask(workers[0], "versions")
    versions |= {"jmeta": jmeta.__version__, "python": platform.python_version()}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"device": device, "cores": os.cpu_count(), "date": date, "versions": versions}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    accelerated = jax.default_backend() != "cpu"
    device = jax.devices()[0].device_kind if accelerated else "cpu"
    if accelerated:
        jax.config.update("jax_default_matmul_precision", "float32")  # not TF32: the same arithmetic on both sides
    path = options.out or path_of("peers", device)
    try:
        if path.exists():
            rows.read_rows(path)  # a damaged file must be found before the hours of measuring
        python = make_environment(options.environment.absolute(), options.torch)
        refused = run(options, python, path, device, "cuda" if accelerated else "cpu")
    except (OSError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{rows.table(rows.read_rows(path))}\n\nwritten to {path}")
    return int(refused)


def run(options: argparse.Namespace, python: Path, path: Path, device: str, torch_device: str) -> bool:
    """Measures the works one after another and writes after each; gives whether a peer was refused."""
    refused = False
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        workers = [stack.enter_context(start_worker(python, Path(folder), count, torch_device)) for count in options.threads]
        origin = context(workers, device)
        for name in options.works:
            print(f"{datetime.datetime.now():%H:%M:%S} {name}", flush=True)
            found, refusals = measure(name, WORKS[name], workers, options.data, options.rounds, options.minimum)
            images = {"images": "omniglot" if options.data else "random"} if "ways" in WORKS[name] else {}
            rows.replace_rows(path, [name], [row | images | origin for row in found], list(WORKS))
            print("\n".join([rows.table(found), *refusals]), flush=True)
            refused |= bool(refusals)
    return refused


if __name__ == "__main__":
    sys.exit(main())
