"""The networks of the problems, each as an encoder and a head, and their options."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.models import from_linen

Normalization = Literal["group", "batch", "none"]


@dataclasses.dataclass(frozen=True)
class PerceptronOptions:
    """The network for vectors: dense layers with ReLU.

    Attributes:
      hidden: units of each hidden layer.
    """

    hidden: tuple[int, ...] = (40, 40)


@dataclasses.dataclass(frozen=True)
class ConvolutionOptions:
    """The network for images: blocks of 3x3 convolution, normalisation, ReLU and half the size.

    Attributes:
      channels: output channels of each block.
      pooling: halve by 2x2 max-pooling; otherwise by convolutions of stride 2.
      normalization: group has no batch statistics; batch takes those of the current batch, which makes predictions depend on the
        other queries (transductive).
    """

    channels: tuple[int, ...] = (64, 64, 64, 64)
    pooling: bool = False
    normalization: Normalization = "batch"


def perceptron(options: PerceptronOptions, outputs: int) -> EncoderHead:
    """Makes the hidden layers the encoder and the last layer the head."""
    from flax import linen

    from jmeta.nn import MultilayerPerceptron

    body = from_linen(linen.Sequential([MultilayerPerceptron(options.hidden), linen.relu]))
    return EncoderHead(body._replace(normalization="none"), from_linen(MultilayerPerceptron((outputs,))))


def convolution(options: ConvolutionOptions, outputs: int) -> EncoderHead:
    """Makes the convolutional blocks the encoder and one dense layer the head."""
    from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

    encoder = ConvolutionalEncoder(options.channels, options.pooling, options.normalization)
    return EncoderHead(from_linen(encoder), from_linen(MultilayerPerceptron((outputs,))))


def between_units(network: EncoderHead, inputs: Sequence[Any] | None, outputs: Sequence[Any] | None) -> EncoderHead:
    """Puts a network between data in units of their own: it sees inputs, and gives outputs, of mean 0 and deviation 1.

    Args:
      network: the network.
      inputs: mean and deviation of an input, of a shape that broadcasts to it; None leaves inputs as they are.
      outputs: mean and deviation of an output; None leaves outputs.
    """
    encoder, head = network
    if inputs is not None:
        encoder = _of_standardised(encoder, *(np.asarray(part, np.float32)[None] for part in inputs))
    if outputs is not None:
        head = _in_units(head, *(np.asarray(part, np.float32)[None] for part in outputs))
    return EncoderHead(encoder, head)


def _of_standardised(encoder: Model, mean: np.ndarray, deviation: np.ndarray) -> Model:
    def init(key: jax.Array, x: Any) -> Params:
        return encoder.init(key, (x - mean) / deviation)

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return encoder.apply(params, (x - mean) / deviation, key=key, mask=mask)

    return encoder._replace(init=init, apply=apply)


def _in_units(head: Model, mean: np.ndarray, deviation: np.ndarray) -> Model:
    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return mean + deviation * head.apply(params, x, key=key, mask=mask)

    return head._replace(apply=apply)
