"""The command: ``python -m benchmarks.speed``."""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

# Tasks may be laid over the cores.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(os.cpu_count() or 1))

import jax

from benchmarks.report import path_of
from benchmarks.speed.questions import QUESTIONS

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the questions one after another and writes ``benchmarks/results/speed-DEVICE.json`` after each."""
    device = "cpu" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Measure jmeta's speed, growth and memory.")
    parser.add_argument("--questions", default=",".join(QUESTIONS), help=f"of {', '.join(QUESTIONS)}; all by default")
    parser.add_argument("--rounds", type=int, default=11, help="how often what is compared is timed in turn")
    parser.add_argument("--out", type=Path, default=path_of("speed", device))
    options = parser.parse_args(arguments)
    names = options.questions.split(",")
    if unknown := [name for name in names if name not in QUESTIONS]:
        parser.error(f"--questions must be of {', '.join(QUESTIONS)}; got {', '.join(unknown)}.")
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1; got {options.rounds}.")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    origin = {"device": device, "cores": os.cpu_count(), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    origin |= {"rounds": options.rounds, "versions": {name: version(name) for name in PACKAGES}}
    for name in names:
        results[name] = QUESTIONS[name](options.rounds) | origin
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        print(name, {key: value for key, value in results[name].items() if key not in origin}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
