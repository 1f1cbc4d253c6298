"""Clusters of digits without labels: ``python -m benchmarks.transfer.clusters``.

An autoencoder of the first 10,000 training digits of MNIST is trained; its features go to k-means, and from there to DEC and, with
the decoder, to IDEC. Labels score the result alone. Writes ``benchmarks/results/clusters.json``.
"""

import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jmeta
from benchmarks.accuracy import RESULTS, origin
from benchmarks.transfer.training import floats, perceptron, train
from jmeta import Batch, EncoderHead, transfer

SEEDS, EXAMPLES, CLUSTERS, STEPS, STAGES, SHARE = 3, 10_000, 10, 3_000, 20, 0.1
WIDTHS = (500, 500, 2000, 10)


def rebuilding(model: EncoderHead) -> Any:
    """Makes the objective of an autoencoder."""
    network = jmeta.compose(*model)

    def objective(params: Any, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, dict[str, jax.Array]]:
        del step
        loss = jnp.square(network.apply(params, batch.x, key=key) - batch.x).mean()
        return loss, {"loss": loss}

    return objective


def scores(clusters: Any, labels: Any) -> tuple[float, float]:
    return 100 * transfer.clustering_accuracy(clusters, labels), 100 * transfer.normalized_mutual_information(clusters, labels)


def run(images: Any, labels: Any, seed: int) -> dict[str, tuple[float, float]]:
    """Gives the accuracy and the mutual information of each, from one autoencoder."""
    model = EncoderHead(perceptron(*WIDTHS), perceptron(*WIDTHS[-2::-1], images.shape[1]))
    params = jmeta.compose(*model).init(jax.random.key(seed), images[:1])
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, STEPS))
    params = train(rebuilding(model), params, jmeta.minibatches(images, None, 256), optimizer, STEPS, seed)
    found = {}
    for name, decoder in (("DEC", None), ("IDEC", model.head)):
        deep = transfer.deep_embedded_clustering(model.encoder, decoder, share=SHARE)
        rebuilt = () if decoder is None else params.head
        start, clusters = transfer.start_clusters(deep, params.encoder, images, CLUSTERS, decoder=rebuilt, seed=seed)
        found["k-means"] = scores(clusters.assignment, labels)
        refiner = optax.sgd(0.1, momentum=0.99) if decoder is None else optax.adam(1e-3)
        _, refined = transfer.refine_clusters(deep, start, images, refiner, stages=STAGES, seed=seed)
        found[name] = scores(refined, labels)
    print(seed, found, flush=True)
    return found


def main() -> None:
    digits, start = jmeta.mnist(None)["train"], time.monotonic()
    images, labels = floats(digits.x[:EXAMPLES]).reshape(EXAMPLES, -1), digits.y[:EXAMPLES]
    runs = [run(images, labels, seed) for seed in range(SEEDS)]
    methods = {
        name: {
            key: jmeta.estimate([found[name][at] for found in runs])._asdict()
            for at, key in enumerate(("accuracy", "mutual_information"))
        }
        for name in ("k-means", "DEC", "IDEC")
    }
    settings = {"seeds": SEEDS, "examples": EXAMPLES, "widths": WIDTHS, "steps": STEPS, "stages": STAGES, "share": SHARE}
    settings |= {"dec": "SGD 0.1, momentum 0.99", "idec": "Adam 1e-3", "batch": 256, "steps_of_a_stage": 140}
    result = {"methods": methods, "settings": settings, "minutes": (time.monotonic() - start) / 60} | origin()
    (RESULTS / "clusters.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
