"""The networks of multi-task problems: an encoder in stages, which tasks may mix, mask or modulate, and heads."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax

from jmeta._catalogue.networks import PerceptronOptions
from jmeta._types import Model
from jmeta.models import from_linen


@dataclasses.dataclass(frozen=True)
class StagesOptions:
    """The encoder: stages of 3x3 convolution, group normalisation and ReLU.

    Attributes:
      channels: output channels of each stage.
      halvings: how many of the first stages halve the size of the image.
      head_channels: hidden units or channels of each head.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    halvings: int = 2
    head_channels: int = 64


@dataclasses.dataclass(frozen=True)
class LeNetOptions:
    """The encoder of Sener and Koltun (2018): two 5x5 convolutions with 2x2 max-pooling, and a dense layer.

    Attributes:
      filters: output channels of the two convolutions.
      hidden_units: of the dense layer, and of one in each head.
      dropout: share of the channels of the second convolution that a training step leaves out.
    """

    filters: tuple[int, int] = (10, 20)
    hidden_units: int = 50
    dropout: float = 0.5


def dense_stages(options: PerceptronOptions) -> tuple[Model, ...]:
    """Makes a stage of each hidden layer."""
    from flax import linen

    return tuple(_plain(linen.Sequential([linen.Dense(width), linen.relu])) for width in options.hidden)


def convolutional_stages(options: StagesOptions) -> tuple[Model, ...]:
    """Makes the stages of an encoder of images, which keeps their two axes."""
    return tuple(_convolution(channels, 2 if at < options.halvings else 1) for at, channels in enumerate(options.channels))


def lenet_stages(options: LeNetOptions) -> tuple[Model, ...]:
    """Makes the three stages of a LeNet."""
    from jmeta._catalogue.lenet import Convolution, Dense

    first, second = options.filters
    modules = Convolution(first), Convolution(second, options.dropout), Dense(options.hidden_units)
    return tuple(map(_plain, modules))


def dense_head(outputs: int, *, hidden: Sequence[int] = ()) -> Model:
    """Makes a head of dense layers on all numbers of the features."""
    from jmeta.nn import MultilayerPerceptron

    return _plain(MultilayerPerceptron((*hidden, outputs)))


def pixel_head(outputs: int, *, hidden: int, scale: int) -> Model:
    """Makes a head that gives ``outputs`` to each of ``scale x scale`` pixels of every position of the features."""
    from flax import linen

    from jmeta.nn import Conv

    layers: list[Any] = [Conv(hidden, (3, 3)), linen.relu, Conv(outputs * scale**2, (1, 1))]
    return _plain(linen.Sequential([*layers, functools.partial(depth_to_space, scale)]))


def depth_to_space(scale: int, x: jax.Array) -> jax.Array:
    """Lays the channels of each position out as ``scale x scale`` pixels: ``[n, h, w, scale^2 c] -> [n, scale h, scale w, c]``."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, scale, scale, channels // scale**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height * scale, width * scale, channels // scale**2)


def _convolution(channels: int, stride: int) -> Model:
    from flax import linen

    from jmeta.nn import Conv

    normalised = linen.GroupNorm(num_groups=None, group_size=min(channels, 16))
    model = from_linen(linen.Sequential([Conv(channels, (3, 3), (stride, stride)), normalised, linen.relu]))
    return model._replace(normalization="group")


def _plain(module: Any) -> Model:
    return from_linen(module)._replace(normalization="none")
