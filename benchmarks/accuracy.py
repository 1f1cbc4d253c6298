"""Accuracy on the benchmarks of the literature: ``python -m benchmarks.accuracy JOB [--data DIR]``.

A job trains, chooses its parameters (and a baseline its step size) on validation tasks, scores them once on test tasks, and writes
``benchmarks/results/accuracy-JOB.json`` with settings, seeds, versions, minutes and intervals. An interrupted job goes on where
it was when it is started again.
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jmeta
from jmeta._catalogue.baseline import BASELINE
from jmeta._catalogue.config import read_config, write_config
from jmeta._catalogue.options import with_values
from jmeta._catalogue.runs import Tested, evaluate_run, train_run
from jmeta._catalogue.tables import default_config
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs") / "accuracy"
EPISODES = 1000
PLACES = {"maml": "", "pretrained": BASELINE}


class Job(NamedTuple):
    """A learner, where its tasks come from, and how it is trained and tested."""

    learner: jmeta.Learner
    train: jmeta.Sampler
    validation: jmeta.Sampler
    test: jmeta.Sampler
    metric: jmeta.LossFn
    settings: dict[str, Any]


def omniglot_maml(data: str | None) -> Job:
    """MAML on Omniglot, 5-way 1-shot, four strided layers of 64 channels with batch statistics."""
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="batch"))
    model = jmeta.compose(encoder, jmeta.from_linen(MultilayerPerceptron((5,))))
    loss_fn = optax.softmax_cross_entropy_with_integer_labels
    learner = jmeta.maml(model, loss_fn, optax.sgd(0.4))
    settings = {
        "network": "4 convolutions 3x3, stride 2, 64 channels",
        "inner_learning_rate": 0.4,
        "inner_steps": 1,
        "ways": 5,
        "shots": 1,
        "training_queries": 3,
        "test_queries": 15,
        "tasks_per_step": 16,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "steps": 8_000,
        "steps_per_chunk": 20,
        "evaluation_steps": 3,
        "evaluation_batch": 1,
        "micro_batch": 1,
        "validation_episodes": 100,
    }
    return Job(
        learner,
        jmeta.omniglot(data, "train", ways=5, shots=1, queries=settings["training_queries"]),
        jmeta.omniglot(data, "validation", ways=5, shots=1, queries=15),
        jmeta.omniglot(data, "test", ways=5, shots=1, queries=15),
        jmeta.accuracy,
        settings,
    )


def omniglot_prototypical(data: str | None) -> Job:
    """Prototypical networks on Omniglot: 60-way training, 5-way 1-shot test."""
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="group"))
    settings = {
        "network": "4 convolutions 3x3, stride 2, 64 channels",
        "training_ways": 60,
        "ways": 5,
        "shots": 1,
        "training_queries": 5,
        "test_queries": 15,
        "tasks_per_step": 1,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "steps": 9_000,
        "steps_per_chunk": 10,
        "evaluation_steps": None,
        "evaluation_batch": 1,
        "micro_batch": 1,
        "validation_episodes": 200,
    }
    return Job(
        jmeta.prototypical_networks(encoder),
        jmeta.omniglot(data, "train", ways=60, shots=1, queries=settings["training_queries"]),
        jmeta.omniglot(data, "validation", ways=5, shots=1, queries=15),
        jmeta.omniglot(data, "test", ways=5, shots=1, queries=15),
        jmeta.accuracy,
        settings,
    )


JOBS: dict[str, Callable[[str | None], Job]] = {
    "omniglot-5way-1shot-maml": omniglot_maml,
    "omniglot-5way-1shot-prototypical": omniglot_prototypical,
}


def train(name: str, job: Job, seed: int, directory: Path) -> tuple[jmeta.Fitted, float]:
    """Trains, or goes on training; gives the minutes of all parts of the training together."""
    settings = job.settings
    optimizer = optax.adam(optax.cosine_decay_schedule(settings["learning_rate"], settings["steps"]))
    objective = jmeta.over_tasks(job.learner.loss)
    step = jmeta.make_step(objective, optimizer, micro_batch=settings["micro_batch"])
    example = jax.jit(job.train.sample)(job.train.data, jax.random.key(seed))
    state = jmeta.init_state(job.learner.init(jax.random.key(seed), example), optimizer, jax.random.key(seed + 1))
    validation = jmeta.validator(job.learner, job.validation, metric=job.metric, episodes=settings["validation_episodes"])
    clock = directory / "seconds"
    spent, start = float(clock.read_text()) if clock.exists() else 0.0, time.monotonic()

    def tick(done: int, metrics: Any, state: Any) -> None:
        del state
        clock.write_text(str(spent + time.monotonic() - start))
        if any(key.startswith("validation") for key in metrics):
            print(name, done, {key: round(value, 4) for key, value in metrics.items()}, flush=True)

    directory.mkdir(parents=True, exist_ok=True)
    fitted = jmeta.fit(
        step,
        state,
        jmeta.batch_tasks(job.train, settings["tasks_per_step"]),
        num_steps=settings["steps"],
        steps_per_chunk=settings["steps_per_chunk"],
        validation=validation,
        validate_every=settings["steps"] // 20,
        checkpoint_every=settings["steps"] // 20,
        directory=directory,
        resume=True,
        callbacks=(tick,),
    )
    return fitted, (spent + time.monotonic() - start) / 60


def score(job: Job, params: Any) -> jmeta.Evaluation:
    """Scores on the fixed list of test episodes."""
    settings = job.settings
    return jmeta.evaluate(
        job.learner,
        params,
        job.test,
        metric=job.metric,
        num_steps=settings["evaluation_steps"],
        episodes=EPISODES,
        batch_size=settings["evaluation_batch"],
    )


def result_of(name: str, evaluation: jmeta.Evaluation, settings: dict[str, Any], minutes: float, best_step: int) -> dict[str, Any]:
    """Puts together what a result file holds."""
    estimates = zip(evaluation.steps, evaluation.after_steps, strict=True)
    return {
        "job": name,
        "metric": evaluation.metric,
        "episodes": len(evaluation.values),
        "after_steps": {str(steps or 0): found._asdict() for steps, found in estimates},
        "normalization": evaluation.normalization,
        "transductive": evaluation.transductive,
        "milliseconds_per_episode": evaluation.milliseconds_per_episode,
        "training_minutes": minutes,
        "best_step": best_step,
        "parameters_chosen_by": "lowest loss on validation tasks",
        "settings": settings,
    } | origin()


def origin() -> dict[str, Any]:
    """Says on what something was measured."""
    versions = {package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")}
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()} | versions | {"jmeta": jmeta.__version__},
    }


def omniglot(name: str, data: str | None, seed: int) -> list[dict[str, Any]]:
    """Trains and tests a learner on Omniglot."""
    job = JOBS[name](data)
    fitted, minutes = train(name, job, seed, RUNS / f"{name}-{seed}")
    evaluation = score(job, fitted.best.params)
    return [result_of(name, evaluation, job.settings | {"seed": seed}, minutes, int(fitted.best.step))]


def sinusoid(seed: int) -> list[dict[str, Any]]:
    """Runs what ``jmeta train maml sinusoid`` runs: MAML, the pretrained baseline, and predictions that ignore the task."""
    directory = RUNS / f"sinusoid-{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    config = with_values(default_config("maml", "sinusoid"), seed=seed)
    write_config(directory, config)
    start = time.monotonic()
    train_run(directory, config, print)
    minutes = (time.monotonic() - start) / 60
    found = {name: evaluate_run(directory / place, read_config(directory / place)) for name, place in PLACES.items()}
    results = [result_of_run(f"sinusoid-{name}", directory / PLACES[name], tested, minutes) for name, tested in found.items()]
    results[0]["references"] = {
        name: measured.estimate._asdict() | {"expected": measured.expected}
        for name, measured in found["maml"].references.items()
        if measured.estimate is not None
    }
    return results


def result_of_run(name: str, directory: Path, tested: Tested, minutes: float) -> dict[str, Any]:
    """Puts together what the result file of a run of the command line holds."""
    settings = {key: value for key, value in dataclasses.asdict(tested.config).items() if key != "data"}
    return result_of(name, tested.evaluation, settings, minutes, best_step(directory))


def best_step(directory: Path) -> int:
    """Reads the step that validation chose, of a run in which it chose one."""
    return int(jmeta.checkpointing.restore(directory / "checkpoints", np.zeros((), np.int32), part=".best.step")[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["sinusoid", *JOBS], help="what to train and test")
    parser.add_argument("--data", help="the folder with the Omniglot archive; $JMETA_DATA/omniglot by default")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the parameters and of the training tasks")
    options = parser.parse_args()
    results = sinusoid(options.seed) if options.job == "sinusoid" else omniglot(options.job, options.data, options.seed)
    RESULTS.mkdir(exist_ok=True)
    for result in results:
        (RESULTS / f"accuracy-{result['job']}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(result["job"], json.dumps(result["after_steps"]))


if __name__ == "__main__":
    main()
