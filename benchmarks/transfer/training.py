"""What the benchmarks of transfer have in common: one training, and the accuracy of what came out."""

import functools
from typing import Any

import jax
import numpy as np
import optax

import jmeta
from jmeta import Batch, EncoderHead
from jmeta._catalogue import networks
from jmeta._catalogue.stages import LeNetOptions, lenet_stages
from jmeta.nn import MultilayerPerceptron

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


@functools.cache
def perceptron(*features: int) -> jmeta.Model:
    return jmeta.from_linen(MultilayerPerceptron(features))


def hidden_layers(*widths: int) -> jmeta.Model:
    """Gives dense layers, each with ReLU."""
    return networks.perceptron(networks.PerceptronOptions(widths), 1).encoder


@functools.cache
def lenet(filters: tuple[int, int], hidden_units: int) -> jmeta.Model:
    """Gives LeNet below its last layer."""
    return jmeta.chain(lenet_stages(LeNetOptions(filters, hidden_units, dropout=0.0)))


def train(
    objective: Any, params: Any, batches: jmeta.Sampler, optimizer: optax.GradientTransformation, steps: int, seed: int
) -> Any:
    """Trains, and gives the last parameters."""
    step, state = jmeta.make_step(objective, optimizer), jmeta.init_state(params, optimizer, jax.random.key(seed))
    return jmeta.fit(step, state, batches, num_steps=steps, steps_per_chunk=min(steps, 500), progress=False).state.params


def pretrain(model: EncoderHead, examples: Batch, steps: int, seed: int, *, batch_size: int = 128) -> EncoderHead:
    """Trains an encoder with a head on labelled examples from scratch, by Adam with a cosine schedule."""
    network, batches = jmeta.compose(*model), jmeta.minibatches(examples.x, examples.y, batch_size)
    params = network.init(jax.random.key(seed), batches.sample(batches.data, jax.random.key(seed)).x)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))
    return train(jmeta.transfer.supervised(network, CROSS_ENTROPY), params, batches, optimizer, steps, seed)


def floats(x: Any) -> Any:
    """Turns uint8 images into what mini-batches make of them."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def accuracy(apply: Any, params: Any, examples: Batch) -> float:
    """Gives the share of examples whose label has the largest output, in percent."""
    outputs = jmeta.predict_batch(apply, params, Batch(floats(examples.x), None), batch_size=512).outputs
    return 100 * float((outputs.argmax(axis=1) == examples.y).mean())
