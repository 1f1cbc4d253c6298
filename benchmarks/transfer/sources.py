"""What to transfer from: scores of six sources against what fine-tuning reaches: ``python -m benchmarks.transfer.sources``.

A LeNet is pretrained on each source, or not at all; scores see its features of 500 labelled digits of USPS, or what its own head
says of them; then all of it is fine-tuned on these. Writes ``benchmarks/results/sources.json``.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from scipy.stats import kendalltau

import jmeta
from benchmarks.accuracy import RESULTS, origin
from benchmarks.transfer.training import CROSS_ENTROPY, accuracy, floats, lenet, perceptron, pretrain, train
from jmeta import Batch, EncoderHead, transfer
from jmeta.tasks._reading import read_arrays

SEEDS, LABELLED, PRETRAINING_STEPS, STEPS, FILTERS, UNITS = 3, 500, 1_500, 300, (10, 20), 50
UNTRAINED = "nothing"


def sources() -> dict[str, Batch]:
    """Gives labelled images of 28 x 28 pixels by the name of their set."""
    root = Path(os.environ["JMETA_DATA"])
    letters = read_arrays(root / "notmnist" / "notmnist_small10k.npz", "notMNIST", ("images", "labels"))
    characters = read_arrays(root / "omniglot" / "omniglot28.npz", "Omniglot", ("images",))[0][:200]
    drawn = jmeta.glyphs(ways=50, shots=20, queries=1)
    glyphs = drawn.sample(drawn.data, jax.random.key(0)).support
    pairs = jmeta.multi_mnist(None).train.data
    return {
        "MNIST": jmeta.mnist(None)["train"],
        "notMNIST": Batch(letters[0][..., None], letters[1].astype(np.int32)),
        "MultiMNIST, left": Batch(pairs.x, pairs.y["left"]),
        "Omniglot": Batch(characters.reshape(-1, 28, 28, 1), np.repeat(np.arange(200, dtype=np.int32), 20)),
        "glyphs": Batch(np.asarray(glyphs.x), np.asarray(glyphs.y)),
    }


def run(name: str, source: Batch | None, labelled: Batch, test: Batch, seed: int) -> tuple[float, dict[str, float]]:
    """Gives the accuracy after fine-tuning, and what each score says before it."""
    classes = 10 if source is None else int(source.y.max()) + 1
    model = EncoderHead(lenet(FILTERS, UNITS), perceptron(classes))
    if source is None:
        start = jmeta.compose(*model).init(jax.random.key(seed), floats(labelled.x[:1]))
    else:
        start = pretrain(model, source, PRETRAINING_STEPS, seed)
    seen = jmeta.predict_batch(model.encoder.apply, start.encoder, labelled._replace(x=floats(labelled.x), y=None)).outputs
    guessed = jmeta.predict_batch(jmeta.compose(*model).apply, start, labelled._replace(x=floats(labelled.x), y=None)).outputs
    said = {
        "LogME": transfer.logme(seen, labelled.y),
        "H-score": transfer.h_score(seen, labelled.y),
        "LEEP": transfer.leep(np.asarray(jax.nn.softmax(guessed)), labelled.y),
        "NCE": transfer.negative_conditional_entropy(guessed.argmax(axis=1), labelled.y),
    }
    tuned = EncoderHead(model.encoder, perceptron(10))
    batch = labelled._replace(x=floats(labelled.x))
    params = transfer.replace_head(tuned, start, jax.random.key(100 + seed), batch)
    network = jmeta.compose(*tuned)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, STEPS))
    batches = jmeta.minibatches(labelled.x, labelled.y, 64)
    params = train(transfer.supervised(network, CROSS_ENTROPY), params, batches, optimizer, STEPS, seed)
    reached = accuracy(network.apply, params, test)
    print(name, seed, round(reached, 2), {score: round(value, 3) for score, value in said.items()}, flush=True)
    return reached, said


def main() -> None:
    start, everything = time.monotonic(), jmeta.usps(None)["train"]
    everything = everything._replace(x=np.pad(everything.x, ((0, 0), (6, 6), (6, 6), (0, 0))))
    random = np.random.default_rng(0).permutation(len(everything.y))
    labelled, test = (Batch(everything.x[rows], everything.y[rows]) for rows in np.split(random, [LABELLED]))
    found = {}
    for name, source in {**sources(), UNTRAINED: None}.items():
        runs = [run(name, source, labelled, test, seed) for seed in range(SEEDS)]
        reached = [value for value, _ in runs]
        found[name] = {"accuracy": jmeta.estimate(reached)._asdict(), "of_seeds": reached, **runs[0][1]}
    accuracies = [one["accuracy"]["mean"] for one in found.values()]
    scores = [name for name in next(iter(found.values())) if name not in ("accuracy", "of_seeds")]
    taus = {score: float(kendalltau([one[score] for one in found.values()], accuracies).statistic) for score in scores}
    settings: dict[str, Any] = {"seeds": SEEDS, "labelled": LABELLED, "pretraining_steps": PRETRAINING_STEPS, "steps": STEPS}
    result = {"sources": found, "kendall_tau": taus, "settings": settings, "minutes": (time.monotonic() - start) / 60} | origin()
    (RESULTS / "sources.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
