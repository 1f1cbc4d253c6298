"""Faults of bearings at another load of the motor, from 10 examples each: ``python -m benchmarks.transfer.bearings``.

The source is load 0, the target load 3; an example is 85 ms of vibration, divided by its deviation. 10 windows of each fault are
labelled in the target, the first in time; accuracy is that on the second half of each recording, and what lies between is without
labels, for DANN. Settings were not chosen by any of it. Writes ``benchmarks/results/bearings.json``.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import linen

import jmeta
from benchmarks.accuracy import RESULTS, origin
from benchmarks.transfer.training import (
    CROSS_ENTROPY,
    accuracy,
    perceptron,
    pretrain,
    train,
)
from jmeta import Batch, EncoderHead, transfer
from jmeta.nn import Conv

SEEDS, SHOTS, WINDOW, FAULTS = 3, 10, 1024, 15
PRETRAINING_STEPS, STEPS, BATCH, RATE, STRENGTH, RANK = 2_000, 1_000, 64, 0.01, 0.01, 4
SOURCE, TARGET = 0, 3


class WideKernels(linen.Module):
    """Convolutions along time, the first of 5 ms as that of Zhang et al. (2017, *Sensors*), and the mean over time."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[n, samples]`` to ``[n, 64]``."""
        x = x[..., None, None]
        for features, size, stride in ((16, 64, 16), (32, 3, 2), (64, 3, 2), (64, 3, 2)):
            x = linen.relu(Conv(features, (size, 1), (stride, 1))(x))
        return x.mean(axis=(1, 2))


def scaled(windows: Batch) -> Batch:
    """Divides each window by its deviation."""
    return windows._replace(x=windows.x / windows.x.std(axis=1, keepdims=True))


def in_time(windows: Batch) -> tuple[Batch, Batch, Batch]:
    """Parts each fault's windows into the labelled first, those without labels, and the second half."""
    parts: list[list[int]] = [[], [], []]
    for fault in range(FAULTS):
        rows = np.flatnonzero(windows.y == fault)
        for part, chosen in zip(parts, np.split(rows, [SHOTS, len(rows) // 2]), strict=True):
            part.extend(chosen.tolist())
    first, between, second = (Batch(windows.x[rows], windows.y[rows]) for rows in parts)
    return first, between, second


ENCODER = jmeta.from_linen(WideKernels())


def model() -> EncoderHead:
    return EncoderHead(ENCODER, perceptron(FAULTS))


NETWORK = jmeta.compose(*model())
OBJECTIVE = transfer.supervised(NETWORK, CROSS_ENTROPY)
DESCENT = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(optax.cosine_decay_schedule(RATE, STEPS), momentum=0.9))


def tune(objective: Any, params: Any, labelled: Batch, seed: int, optimizer: Any = DESCENT) -> Any:
    return train(objective, params, jmeta.minibatches(labelled.x, labelled.y, BATCH), optimizer, STEPS, seed)


def from_scratch(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    fresh = NETWORK.init(jax.random.key(seed), labelled.x[:1])
    return NETWORK.apply, tune(OBJECTIVE, fresh, labelled, seed)


def source_only(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    return NETWORK.apply, pretrain(model(), source, PRETRAINING_STEPS, seed)


def fine_tuned(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    return NETWORK.apply, tune(OBJECTIVE, pretrain(model(), source, PRETRAINING_STEPS, seed), labelled, seed)


def near_the_start(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    pretrained = pretrain(model(), source, PRETRAINING_STEPS, seed)
    penalty = transfer.l2_sp(EncoderHead(pretrained.encoder, None))
    return NETWORK.apply, tune(OBJECTIVE, pretrained, labelled, seed, optax.chain(jmeta.penalize(penalty, STRENGTH), DESCENT))


def adapters(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    thin = transfer.low_rank(NETWORK, RANK)
    params = thin.init(jax.random.key(seed), labelled.x[:1])
    params = params._replace(base=pretrain(model(), source, PRETRAINING_STEPS, seed))
    optimizer = jmeta.trainable(DESCENT, lambda path: path.startswith("factors/"))
    return thin.apply, tune(transfer.supervised(thin, CROSS_ENTROPY), params, labelled, seed, optimizer)


def without_labels(source: Batch, labelled: Batch, unlabelled: Batch, seed: int) -> tuple[Any, Any]:
    adversary = transfer.dann(perceptron(64, 1), reversal=transfer.reversal_schedule(PRETRAINING_STEPS))
    domains = transfer.domain_adaptation(*model(), CROSS_ENTROPY, adversary)
    everything = np.concatenate([labelled.x, unlabelled.x])
    batches = jmeta.combine(
        {"source": jmeta.minibatches(source.x, source.y, 128), "target": jmeta.minibatches(everything, None, 128)}
    )
    params = domains.init(jax.random.key(seed), batches.sample(batches.data, jax.random.key(seed)))
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, PRETRAINING_STEPS))
    return domains.predict, train(domains.objective, params, batches, optimizer, PRETRAINING_STEPS, seed)


METHODS: dict[str, tuple[Callable[..., tuple[Any, Any]], str]] = {
    "from scratch": (from_scratch, "10 labels per fault"),
    "source only": (source_only, "none of the target"),
    "DANN": (without_labels, "none of the target, its windows alone"),
    "fine-tuned": (fine_tuned, "source, then 10 labels per fault"),
    "L2-SP": (near_the_start, "source, then 10 labels per fault"),
    "adapters": (adapters, "source, then 10 labels per fault"),
}


def main() -> None:
    loads = jmeta.bearings(None, window=WINDOW)
    source, found = scaled(loads[SOURCE]), {}
    labelled, unlabelled, test = in_time(scaled(loads[TARGET]))
    for name, (method, labels) in METHODS.items():
        start = time.monotonic()
        scores = [accuracy(*method(source, labelled, unlabelled, seed), test) for seed in range(SEEDS)]
        minutes = (time.monotonic() - start) / 60 / SEEDS
        found[name] = {"accuracy": jmeta.estimate(scores)._asdict(), "of_seeds": scores, "labels": labels, "minutes": minutes}
        print(name, found[name]["accuracy"], flush=True)
    settings = {
        **{
            "seeds": SEEDS,
            "window": WINDOW,
            "labels_per_fault": SHOTS,
            "network": "4 convolutions, 16 to 64 channels",
        },
        **{"pretraining_steps": PRETRAINING_STEPS, "steps": STEPS, "batch": BATCH, "rate": RATE, "momentum": 0.9, "clip": 1},
        **{"l2_sp": STRENGTH, "rank": RANK, "test_windows": len(test.y)},
    }
    (RESULTS / "bearings.json").write_text(json.dumps({"methods": found, "settings": settings} | origin(), indent=1) + "\n")


if __name__ == "__main__":
    main()
