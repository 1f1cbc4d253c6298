"""Killing a training at random and resuming it: ``python -m benchmarks.resume [--trials N]``.

Each trial starts a training in a process of its own, kills it with SIGKILL a random moment after a randomly drawn line of metrics
has been logged, resumes it in another process, and compares what is left, bit for bit, with a training that was never interrupted:
the parameters, the optimiser state, the best parameters, and the bytes of ``metrics.jsonl``.

``python -m benchmarks.resume DIRECTORY`` is one such training; it goes on where it was when it is started again.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import optax

import jmeta
from jmeta import checkpointing
from jmeta.nn import MultilayerPerceptron

RESULT = Path(__file__).parent / "results" / "resume.json"
SETTINGS = {"steps": 195, "steps_per_chunk": 10, "checkpoint_every": 20, "validate_every": 30, "tasks_per_step": 4, "units": 16}
LINES = 20
# Seconds; about the time between two checkpoints, so that the kill falls anywhere in computing, validating, logging and writing.
LONGEST_DELAY = 0.15
FINAL = "final.sha256"


def train(directory: Path) -> None:
    """Trains MAML on sinusoids to the end, tells each logged step to the standard output, and leaves a digest of the result."""
    model = jmeta.from_linen(MultilayerPerceptron((SETTINGS["units"], SETTINGS["units"], 1)))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.01))
    sampler, optimizer = jmeta.sinusoid(shots=5, queries=5), optax.adam(1e-3)

    @jax.jit
    def initial_state(data: Any) -> jmeta.TrainState:
        params = learner.init(jax.random.key(0), sampler.sample(data, jax.random.key(1)))
        return jmeta.init_state(params, optimizer, jax.random.key(2))

    fitted = jmeta.fit(
        jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer),
        initial_state(sampler.data),
        jmeta.batch_tasks(sampler, SETTINGS["tasks_per_step"]),
        num_steps=SETTINGS["steps"],
        steps_per_chunk=SETTINGS["steps_per_chunk"],
        checkpoint_every=SETTINGS["checkpoint_every"],
        validation=jmeta.validator(learner, sampler, metric=jmeta.squared_error, episodes=8),
        validate_every=SETTINGS["validate_every"],
        directory=directory,
        resume=(directory / "metrics.jsonl").exists(),
        callbacks=[lambda step, metrics, state: print(step, flush=True)],
    )
    (directory / FINAL).write_text(digest(fitted))


def digest(tree: Any) -> str:
    """Gives the SHA-256 of every leaf: its place, dtype, shape and bytes."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        data = jax.device_get(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode() + data.tobytes())
    return found.hexdigest()


def start(directory: Path) -> subprocess.Popen[str]:
    """Starts, or resumes, a training in a process of its own."""
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "benchmarks.resume", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    """Waits for a training to end well."""
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"a training ended with {process.returncode}; expected 0.")


def kill(directory: Path, line: int, delay: float) -> dict[str, Any]:
    """Kills a training ``delay`` seconds after ``line`` lines were logged and says what it had left."""
    process = start(directory)
    for _ in range(line):
        process.stdout.readline()
    until = time.perf_counter() + delay
    while time.perf_counter() < until:
        pass
    process.kill()
    process.communicate()
    checkpoints = directory / "checkpoints"
    return {
        "exit": process.returncode,
        "lines_logged": (directory / "metrics.jsonl").read_bytes().count(b"\n"),
        "checkpoints": checkpointing.steps(checkpoints),
        "while_writing_a_checkpoint": any(checkpoints.glob(".partial-*")),
    }


def trial(reference: Path, directory: Path, seed: int) -> dict[str, Any]:
    """Kills one training at a place drawn from ``seed``, resumes it, and compares it with ``reference``."""
    draw = random.Random(seed)
    line, delay = draw.randint(1, LINES - 1), draw.uniform(0, LONGEST_DELAY)
    left = kill(directory, line, delay)
    finish(start(directory))
    same = {name: (directory / name).read_bytes() == (reference / name).read_bytes() for name in ("metrics.jsonl", FINAL)}
    return {"seed": seed, "killed_after_line": line, "delay_seconds": delay} | left | {"same": same, "bitwise": all(same.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill trainings at random, resume them, and compare bit for bit.")
    parser.add_argument("directory", type=Path, nargs="?", help="train here, once, instead")
    parser.add_argument("--trials", type=int, default=20, help="how many trainings are killed")
    arguments = parser.parse_args()
    if arguments.directory:
        return train(arguments.directory)
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference"
        finish(start(reference))
        trials = []
        for seed in range(arguments.trials):
            trials.append(trial(reference, Path(folder) / str(seed), seed))
            print(json.dumps(trials[-1]))
    result = {
        "bitwise": sum(one["bitwise"] for one in trials),
        "trials": len(trials),
        "while_writing_a_checkpoint": sum(one["while_writing_a_checkpoint"] for one in trials),
        "settings": SETTINGS,
        "versions": {name: version(name) for name in ("jax", "flax", "optax", "orbax-checkpoint")}
        | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "each": trials,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['bitwise']} of {result['trials']} ended bitwise like the uninterrupted training; {RESULT}")
    return None


if __name__ == "__main__":
    main()
