"""Drawn characters: ``python -m benchmarks.glyphs [PART ...]``.

Measures how long 1,000 episodes take to draw, what a nearest-centroid classifier of raw pixels and a prototypical network reach on
the characters of the test split, and what one network with four heads learns of two characters at once. Each part replaces its own
results in ``benchmarks/results/glyphs.json``, with settings, seeds, versions, minutes and 95 % intervals. A training of the
prototypical network that was interrupted goes on where it was.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import optax

import jmeta
from benchmarks.accuracy import RESULTS, RUNS, Job, origin, result_of, score, train
from jmeta._catalogue.multi_glyphs import angular_error
from jmeta.multitask import evaluate_tasks
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

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
    """Trains a hard-sharing network on the four tasks of ``multi_glyphs``, and tests it on drawings of the test split."""
    settings = {"network": "4 convolutions 3x3, stride 2, 64 channels; heads of 128 units", "examples": 64, "classes": 10}
    settings |= {"learning_rate": 2e-3, "schedule": "cosine", "steps": 4_000, "test_rows": 4_096, "seed": SEED}
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    size, classes = SIZES["size"], settings["classes"]
    pixels = jmeta.from_linen(MultilayerPerceptron((128, size * size * 3)))
    heads = {
        "first": jmeta.Task(jmeta.from_linen(MultilayerPerceptron((128, classes))), cross_entropy),
        "second": jmeta.Task(jmeta.from_linen(MultilayerPerceptron((128, classes))), cross_entropy),
        "rotation": jmeta.Task(jmeta.from_linen(MultilayerPerceptron((128, 2))), jmeta.squared_error),
        "mask": jmeta.Task(_reshaped(pixels, (size, size, 3)), cross_entropy),
    }
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="group"))
    model = jmeta.hard_parameter_sharing(encoder, heads)
    train = jmeta.multi_glyphs(examples=settings["examples"], classes=classes)
    test = jmeta.multi_glyphs(examples=settings["test_rows"], classes=classes, split="test")
    optimizer = optax.adam(optax.cosine_decay_schedule(settings["learning_rate"], settings["steps"]))

    def objective(params: Any, key: jax.Array, data: Any, *, step: Any = 0) -> tuple[jax.Array, dict[str, jax.Array]]:
        losses, metrics = model.joint_losses(params, key, data, step=step)
        return losses.sum(), metrics

    start = time.monotonic()
    params = model.init(jax.random.key(SEED), train.sample(train.data, jax.random.key(SEED)))
    state = jmeta.init_state(params, optimizer, jax.random.key(SEED + 1))
    step = jmeta.make_step(objective, optimizer)
    state, _ = jmeta.fit(step, state, train, num_steps=settings["steps"], steps_per_chunk=200)
    minutes = (time.monotonic() - start) / 60
    metrics = {
        "first": {"accuracy": jmeta.accuracy},
        "second": {"accuracy": jmeta.accuracy},
        "rotation": {"degrees": angular_error},
        "mask": {"mean_iou": jmeta.metrics.mean_iou},
    }
    data = jax.jit(test.sample)(test.data, jax.random.key(SEED))
    found = evaluate_tasks(model, state.params, data, metrics, resamples=200)
    scores = {f"{task} {name}": one._asdict() for task, by_name in found.items() for name, one in by_name.items()}
    # Any class by chance, any angle, and nothing but paper.
    nothing = {"first accuracy": 1 / classes, "second accuracy": 1 / classes, "rotation degrees": 90.0}
    nothing["mask mean_iou"] = float((data.y["mask"] == 0).mean()) / 3
    return {"scores": scores, "nothing": nothing, "training_minutes": minutes, "settings": settings} | origin()


def _reshaped(model: jmeta.Model, shape: tuple[int, ...]) -> jmeta.Model:
    def apply(params: Any, x: Any, *, key: Any = None, mask: Any = None) -> jax.Array:
        return model.apply(params, x, key=key, mask=mask).reshape(-1, *shape)

    return model._replace(apply=apply)


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
