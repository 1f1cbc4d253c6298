"""Unsupervised domain adaptation in leagues: ``python -m benchmarks.transfer.domains LEAGUE [METHOD ...] [--seeds N]``.

A league is pairs of domains, a network and a budget; a method is an alignment, with settings to choose from. All examples of both
domains take part, those of the target without labels, but for a tenth of the source that is held out. Every setting is trained with
seed 0, and one is chosen by deep embedded validation, without target labels; it is trained with every seed. What validation on the
source would have chosen and what an oracle with target labels would, with seed 0, stands beside it. Writes
``benchmarks/results/domains-LEAGUE-METHOD.json``; methods that have their file are left out, and single trainings are kept in
``runs/domains``. The data is that of ``$JMETA_DATA``.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from benchmarks.accuracy import RESULTS, origin
from benchmarks.transfer.training import CROSS_ENTROPY, accuracy, floats, hidden_layers, lenet, perceptron
from benchmarks.transfer.training import train as train_by
from jmeta import Batch, transfer
from jmeta.transfer import Alignment, DomainAdaptation

RUNS = Path("runs") / "domains"
HELD_OUT = 0.1
SCORES = ("deep_embedded", "source", "entropy")


class League(NamedTuple):
    """What is compared.

    Attributes:
      domains: gives the examples of each.
      encoder: gives the network below the linear head.
      classes: of every domain.
      steps: of training.
      batch_size: examples of each domain per step.
      methods: by name.
      pairs: of domains; all where there is none.
      learning_rate: of Adam, at the beginning.
    """

    domains: Callable[[], Mapping[str, Batch]]
    encoder: Callable[[], jmeta.Model]
    classes: int
    steps: int
    batch_size: int
    methods: Sequence[str]
    pairs: Sequence[tuple[str, str]] | None = None
    learning_rate: float = 1e-3


def source_only() -> Alignment:
    """Aligns nothing."""
    return Alignment(lambda key, features, outputs: {}, lambda params, key, source, target, *, step: (jnp.zeros(()), {}))


def adversarial(kind: Callable[..., Alignment]) -> Callable[[League, float], Alignment]:
    def build(league: League, strength: float) -> Alignment:
        reversal = transfer.reversal_schedule(league.steps)
        return kind(perceptron(256, 1), reversal=reversal, strength=strength)

    return build


def two_heads(league: League, strength: float) -> Alignment:
    reversal = transfer.reversal_schedule(league.steps)
    return transfer.mcd(perceptron(league.classes), reversal=reversal, strength=strength)


# The alignment of a method, and its strengths.
METHODS: dict[str, tuple[Callable[[League, float], Alignment], tuple[float, ...]]] = {
    "source only": (lambda league, strength: source_only(), (0.0,)),
    "coral": (lambda league, strength: transfer.coral(strength=strength), (10.0, 100.0, 1000.0)),
    "mmd": (lambda league, strength: transfer.mmd(strength=strength), (0.3, 1.0, 3.0)),
    "dann": (adversarial(transfer.dann), (0.3, 1.0)),
    "cdan": (adversarial(transfer.cdan), (0.3, 1.0)),
    "mcc": (lambda league, strength: transfer.mcc(strength=strength), (0.3, 1.0)),
    "mcd": (two_heads, (0.3, 1.0)),
}


def digits() -> dict[str, Batch]:
    """Gives the training digits of both sets as SKADA-bench has them, USPS in a frame of 6 pixels, by their mean and deviation."""
    found = {"mnist": jmeta.mnist(None)["train"], "usps": jmeta.usps(None)["train"]}
    framed = np.pad(found["usps"].x, ((0, 0), (6, 6), (6, 6), (0, 0)))
    images = {name: floats(x) for name, x in (("mnist", found["mnist"].x), ("usps", framed))}
    return {name: found[name]._replace(x=(x - x.mean()) / x.std()) for name, x in images.items()}


def reviews() -> dict[str, Batch]:
    """Gives z-scores of shares of words, of each domain by itself."""
    found = {}
    for name, batch in jmeta.amazon_reviews(None).items():
        shares = batch.x / np.maximum(batch.x.sum(axis=1, keepdims=True), 1)
        deviation = shares.std(axis=0)
        found[name] = batch._replace(x=(shares - shares.mean(axis=0)) / np.where(deviation > 0, deviation, 1))
    return found


LEAGUES = {
    "digits": League(digits, lambda: lenet((20, 50), 500), 10, 1_000, 128, tuple(METHODS), (("mnist", "usps"), ("usps", "mnist"))),
    "amazon": League(reviews, lambda: hidden_layers(100), 2, 500, 128, ("source only", "coral", "mmd", "dann", "cdan")),
}


def train(league: League, name: str, strength: float, source: Batch, target: Batch, seed: int) -> tuple[DomainAdaptation, Any]:
    """Trains one model of two domains."""
    model = transfer.domain_adaptation(
        league.encoder(), perceptron(league.classes), CROSS_ENTROPY, METHODS[name][0](league, strength)
    )
    sampler = jmeta.combine(
        {
            "source": jmeta.minibatches(source.x, source.y, league.batch_size),
            "target": jmeta.minibatches(target.x, None, league.batch_size),
        }
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(league.learning_rate, league.steps))
    init_key = jax.random.key(seed)
    params = model.init(init_key, sampler.sample(sampler.data, init_key))
    return model, train_by(model.objective, params, sampler, optimizer, league.steps, seed)


def run(name: str, method: str, strength: float, pair: tuple[str, str], data: Mapping[str, Batch], seed: int) -> dict[str, Any]:
    """Trains and scores once, or reads what was found."""
    path = RUNS / f"{name}-{'-'.join(pair)}-{method.replace(' ', '-')}-{strength:g}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    source, target = (data[domain] for domain in pair)
    order = np.random.default_rng(seed).permutation(len(source.y))
    held, kept = np.split(order, [int(HELD_OUT * len(order))])
    fitted, validation = (Batch(source.x[rows], source.y[rows]) for rows in (kept, held))
    start = time.monotonic()
    model, params = train(LEAGUES[name], method, strength, fitted, target, seed)
    minutes = (time.monotonic() - start) / 60
    batches = {"source": fitted, "validation": validation, "target": Batch(target.x, None)}
    batches = {part: batch._replace(x=floats(batch.x)) for part, batch in batches.items()}
    free = transfer.label_free_scores(model, params, batches)
    found = {"accuracy": accuracy(model.predict, params, target), "minutes": minutes} | free._asdict()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n")
    print(name, pair, method, strength, seed, {key: round(value, 3) for key, value in found.items()}, flush=True)
    return found


def compare(name: str, method: str, data: Mapping[str, Batch], seeds: int) -> dict[str, Any]:
    """Chooses a strength for each pair without target labels, and trains it with every seed."""
    strengths, found = METHODS[method][1], {}
    for pair in LEAGUES[name].pairs or permutations(data, 2):
        tried = [run(name, method, strength, pair, data, 0) for strength in strengths]
        by_score = {score: int(np.argmin([one[score] for one in tried])) for score in SCORES}
        chosen = by_score["deep_embedded"]
        runs = [run(name, method, strengths[chosen], pair, data, seed) for seed in range(seeds)]
        found[" to ".join(pair)] = {
            "accuracy": jmeta.estimate([one["accuracy"] for one in runs])._asdict(),
            "chosen_by_source": tried[by_score["source"]]["accuracy"],
            "chosen_by_entropy": tried[by_score["entropy"]]["accuracy"],
            "oracle": max(one["accuracy"] for one in tried),
            "strength": strengths[chosen],
            "tried": {str(strength): one for strength, one in zip(strengths, tried, strict=True)},
            "minutes": float(np.mean([one["minutes"] for one in runs])),
        }
    league = LEAGUES[name]
    settings = {"steps": league.steps, "batch_size": league.batch_size, "learning_rate": league.learning_rate, "seeds": seeds}
    return {"league": name, "method": method, "pairs": found, "settings": settings | {"held_out": HELD_OUT}} | origin()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("league", choices=LEAGUES)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="all of the league by default")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    options = parser.parse_args()
    if unknown := sorted(set(options.methods) - set(LEAGUES[options.league].methods)):
        sys.exit(f"expected methods among {', '.join(LEAGUES[options.league].methods)}; got {unknown[0]}.")
    data = LEAGUES[options.league].domains()
    for method in options.methods or LEAGUES[options.league].methods:
        path = RESULTS / f"domains-{options.league}-{method.replace(' ', '-')}.json"
        if not path.exists():
            path.write_text(json.dumps(compare(options.league, method, data, options.seeds), indent=1) + "\n")


if __name__ == "__main__":
    main()
