"""The encoder of MultiMNIST; what needs flax is imported where it is used, and this module is."""

import functools

import jax
from flax import linen

from jmeta.nn import Conv, max_pool

pool = functools.partial(max_pool, window_shape=(2, 2), strides=(2, 2))


class Convolution(linen.Module):
    """5x5 convolution, in training without a share of its channels, half the size, and ReLU."""

    features: int
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps ``[n, height, width, channels]`` to ``[n, (height - 4) / 2, (width - 4) / 2, features]``."""
        x = Conv(self.features, (5, 5), padding="VALID")(x)
        x = linen.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        return linen.relu(pool(x))


class Dense(linen.Module):
    """A dense layer on all numbers, and ReLU."""

    features: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[n, ...]`` to ``[n, features]``."""
        return linen.relu(linen.Dense(self.features)(x.reshape(len(x), -1)))
