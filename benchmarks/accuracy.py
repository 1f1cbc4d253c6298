"""Accuracy on the benchmarks of the literature: ``python -m benchmarks.accuracy JOB [--data DIR]``.

A job trains, chooses its parameters (and a baseline its step size) on validation tasks, scores them once on test tasks, and writes
``benchmarks/results/accuracy-JOB.json`` with settings, seeds, versions, minutes and intervals. An interrupted job goes on where
it was when it is started again.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

import jmeta
from jmeta._baseline import sinusoid_references
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs") / "accuracy"
EPISODES = 1000


class Job(NamedTuple):
    """A learner, where its tasks come from, and how it is trained and tested."""

    learner: jmeta.Learner
    test_learner: jmeta.Learner
    train: jmeta.Sampler
    validation: jmeta.Sampler
    test: jmeta.Sampler
    metric: jmeta.LossFn
    settings: dict[str, Any]


def sinusoid_maml(data: str | None) -> Job:
    """MAML on sinusoids: trained with K=10 and one step, tested with 5 shots."""
    del data
    return sinusoid_job(num_steps=1, inner_learning_rate=0.01, settings={"steps": 40_000, "learning_rate": 2e-3})


def sinusoid_pretrained(data: str | None) -> Job:
    """A network trained on all sinusoids at once; its fine-tuning step size is chosen on validation tasks."""
    del data
    return sinusoid_job(num_steps=0, inner_learning_rate=None, settings={"steps": 20_000, "learning_rate": 2e-3})


def sinusoid_job(*, num_steps: int, inner_learning_rate: float | None, settings: dict[str, Any]) -> Job:
    """The network, tasks and schedule that MAML and its baseline share."""
    model = jmeta.from_linen(MultilayerPerceptron((40, 40, 1)))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(inner_learning_rate or 0.01), num_steps=num_steps)
    settings |= {
        "network": "MLP 40-40, ReLU",
        "inner_learning_rate": inner_learning_rate,
        "inner_steps": num_steps,
        "training_shots": 10,
        "training_queries": 10,
        "test_shots": 5,
        "test_queries": 100,
        "tasks_per_step": 25,
        "schedule": "cosine",
        "steps_per_chunk": 1000,
        "evaluation_steps": 10,
        "evaluation_batch": 100,
        "micro_batch": None,
        "validation_episodes": 500,
    }
    return Job(
        learner,
        learner,
        jmeta.sinusoid(shots=10, queries=10),
        jmeta.sinusoid(shots=10, queries=100),
        jmeta.sinusoid(shots=5, queries=100),
        jmeta.squared_error,
        settings,
    )


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
        learner,
        jmeta.omniglot(data, "train", ways=5, shots=1, queries=settings["training_queries"]),
        jmeta.omniglot(data, "validation", ways=5, shots=1, queries=15),
        jmeta.omniglot(data, "test", ways=5, shots=1, queries=15),
        jmeta.accuracy,
        settings,
    )


def omniglot_prototypical(data: str | None) -> Job:
    """Prototypical networks on Omniglot: 60-way training, 5-way 1-shot test."""
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="batch"))
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
        "steps": 3_000,
        "steps_per_chunk": 10,
        "evaluation_steps": None,
        "evaluation_batch": 1,
        "micro_batch": 1,
        "validation_episodes": 200,
    }
    return Job(
        jmeta.prototypical_networks(encoder, ways=60),
        jmeta.prototypical_networks(encoder, ways=5),
        jmeta.omniglot(data, "train", ways=60, shots=1, queries=settings["training_queries"]),
        jmeta.omniglot(data, "validation", ways=5, shots=1, queries=15),
        jmeta.omniglot(data, "test", ways=5, shots=1, queries=15),
        jmeta.accuracy,
        settings,
    )


JOBS: dict[str, Callable[[str | None], Job]] = {
    "sinusoid-maml": sinusoid_maml,
    "sinusoid-pretrained": sinusoid_pretrained,
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
    validation = jmeta.validator(job.test_learner, job.validation, metric=job.metric, episodes=settings["validation_episodes"])
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
        resume=bool(jmeta.checkpointing.steps(directory / "checkpoints")),
        callbacks=(tick,),
    )
    return fitted, (spent + time.monotonic() - start) / 60


def score(job: Job, params: Any, sampler: jmeta.Sampler, *, learner: jmeta.Learner | None = None, seed: int) -> jmeta.Evaluation:
    """Scores on fixed episodes."""
    settings = job.settings
    return jmeta.evaluate(
        learner or job.test_learner,
        params,
        sampler,
        metric=job.metric,
        num_steps=settings["evaluation_steps"],
        episodes=EPISODES,
        seed=seed,
        batch_size=settings["evaluation_batch"],
    )


def fine_tuning(job: Job, params: Any) -> tuple[jmeta.Learner, float]:
    """Chooses the step size of a pretrained network on validation tasks with the test's number of shots."""
    model = jmeta.from_linen(MultilayerPerceptron((40, 40, 1)))
    found = {}
    for rate in (0.001, 0.003, 0.01, 0.02, 0.05, 0.1):
        learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(rate), num_steps=0)
        found[rate] = learner, score(job, params, job.test, learner=learner, seed=100).after_steps[-1].mean
    rate = min(found, key=lambda rate: found[rate][1])
    return found[rate][0], rate


def ignoring_the_task(job: Job) -> dict[str, Any]:
    """Scores predictions that do not look at the support on the same test episodes."""
    found = {}
    for name, (learner, expected) in sinusoid_references().items():
        evaluation = jmeta.evaluate(learner, (), job.test, metric=job.metric, episodes=EPISODES, seed=0, batch_size=100)
        found[name] = evaluation.after_steps[0]._asdict() | {"expected": expected}
    return found


def run(name: str, data: str | None, seed: int) -> dict[str, Any]:
    """Trains and tests one job."""
    job = JOBS[name](data)
    directory = RUNS / f"{name}-{seed}"
    fitted, minutes = train(name, job, seed, directory)
    params = fitted.best.params
    learner = job.test_learner
    if name == "sinusoid-pretrained":
        learner, job.settings["inner_learning_rate"] = fine_tuning(job, params)
    evaluation = score(job, params, job.test, learner=learner, seed=0)
    references = ignoring_the_task(job) if name == "sinusoid-maml" else {}
    return {
        "job": name,
        "metric": evaluation.metric,
        "episodes": EPISODES,
        "after_steps": {
            str(steps): {"mean": found.mean, "half_width": found.half_width} for steps, found in enumerate(evaluation.after_steps)
        },
        "references": references,
        "normalization": evaluation.normalization,
        "transductive": evaluation.transductive,
        "milliseconds_per_episode": evaluation.milliseconds_per_episode,
        "training_minutes": minutes,
        "best_step": int(fitted.best.step),
        "parameters_chosen_by": "lowest loss on validation tasks",
        "seed": seed,
        "settings": job.settings,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")}
        | {"jmeta": jmeta.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=sorted(JOBS), help="what to train and test")
    parser.add_argument("--data", help="the folder with the Omniglot archive; $JMETA_DATA/omniglot by default")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the parameters and of the training tasks")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    result = run(options.job, options.data, options.seed)
    json.dump(result, (RESULTS / f"accuracy-{options.job}.json").open("w"), indent=1)
    json.dump(result["after_steps"], sys.stdout, indent=1)


if __name__ == "__main__":
    main()
