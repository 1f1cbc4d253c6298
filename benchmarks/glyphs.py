"""Drawn characters: ``python -m benchmarks.glyphs [PART ...]``.

Measures how long 1,000 episodes take to draw, what a nearest-centroid classifier of raw pixels and a prototypical network reach on
the characters of the test split, and what one network with four heads learns of two characters at once. Each part replaces its own
results in ``benchmarks/results/glyphs.json``, with settings, seeds, versions, minutes and 95 % intervals. A training that was
interrupted goes on where it was.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

import jmeta
from benchmarks.accuracy import RESULTS, RUNS, Job, origin, result_of, score, train
from benchmarks.defaults import clock
from jmeta._catalogue.config import write_config
from jmeta._catalogue.multitask_results import Scores, evaluate_multitask_run
from jmeta._catalogue.runs import train_run
from jmeta._catalogue.tables import default_config
from jmeta.nn import ConvolutionalEncoder

RESULT = RESULTS / "glyphs.json"
EPISODES, ROUNDS, SEED = 1000, 5, 0
SIZES = {"ways": 5, "shots": 5, "queries": 15, "size": 28}


def drawing() -> dict[str, Any]:
    """Times 1,000 episodes, drawn one after another inside jit; compiling is left out."""
    tasks = jmeta.glyphs(**SIZES)

    @jax.jit
    def draw(data: Any, key: jax.Array) -> jax.Array:
        def ink(key: jax.Array) -> jax.Array:
            # Every pixel is needed for the sum.
            episode = tasks.sample(data, key)
            return episode.support.x.sum() + episode.query.x.sum()

        return jax.lax.map(ink, jax.random.split(key, EPISODES)).sum()

    draw(tasks.data, jax.random.key(SEED)).block_until_ready()
    seconds = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        draw(tasks.data, jax.random.key(number)).block_until_ready()
        seconds.append(time.perf_counter() - start)
    times = {"seconds": statistics.median(seconds), "all_seconds": seconds}
    return times | {"episodes": EPISODES, "settings": SIZES, "wanted": 10} | origin()


def nearest_centroid() -> dict[str, Any]:
    """Classifies by the nearest mean of the raw pixels: prototypical networks without a network."""
    pixels = jmeta.from_functions(lambda key, x: (), lambda params, x: x.reshape(len(x), -1), normalization="none")
    job = few_shot(jmeta.prototypical_networks(pixels), {"evaluation_steps": None, "evaluation_batch": 1})
    return result_of("nearest-centroid", score(job, ()), job.settings, 0.0, 0) | {"wanted": [0.3, 0.6]}


def prototypical() -> dict[str, Any]:
    """Trains a prototypical network for less than ten minutes on two cores."""
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="group"))
    settings = {
        "network": "4 convolutions 3x3, stride 2, 64 channels",
        "training_ways": 20,
        "training_queries": 5,
        "tasks_per_step": 1,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "steps": 2_000,
        "steps_per_chunk": 50,
        "evaluation_steps": None,
        "evaluation_batch": 1,
        "micro_batch": 1,
        "validation_episodes": 50,
        "seed": SEED,
    }
    job = few_shot(jmeta.prototypical_networks(encoder), settings)
    fitted, minutes = train("glyphs-prototypical", job, SEED, RUNS / f"glyphs-prototypical-{SEED}")
    found = result_of("prototypical", score(job, fitted.best.params), job.settings, minutes, int(fitted.best.step))
    return found | {"wanted": 0.9}


def few_shot(learner: jmeta.Learner, settings: dict[str, Any]) -> Job:
    """Gives a learner its tasks."""
    training = SIZES | {"ways": settings.get("training_ways", 5), "queries": settings.get("training_queries", 15)}
    validation, test = (jmeta.glyphs(**SIZES, split=split) for split in ("validation", "test"))
    return Job(learner, jmeta.glyphs(**training), validation, test, jmeta.accuracy, settings | SIZES)


def two_characters() -> dict[str, Any]:
    """Runs what ``jmeta train hard_parameter_sharing multi_glyphs`` runs: one network with four heads."""
    directory, config = RUNS / "glyphs-two-characters", default_config("hard_parameter_sharing", "multi_glyphs")
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory, config)
    with clock(directory / "seconds"):
        train_run(directory, config, print)
    tested = evaluate_multitask_run(directory, config)
    minutes = float((directory / "seconds").read_text()) / 60
    found = {name: by_task(scores) for name, scores in {"scores": tested.scores, "nothing": tested.constant}.items()}
    return found | {"training_minutes": minutes, "settings": dataclasses.asdict(config)} | origin()


def by_task(scores: Scores) -> dict[str, dict[str, float]]:
    """Names each score after its task and metric."""
    return {f"{task} {name}": score._asdict() for task, found in scores.items() for name, score in found.items()}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "drawing": drawing,
    "nearest-centroid": nearest_centroid,
    "prototypical": prototypical,
    "two-characters": two_characters,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    names = parser.parse_args().parts or [*PARTS]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"PART must be of {', '.join(PARTS)}; got {', '.join(unknown)}.")
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in names:
        results[name] = PARTS[name]()
        RESULT.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        print(name, json.dumps(results[name]), flush=True)


if __name__ == "__main__":
    main()
