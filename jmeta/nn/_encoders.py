"""Networks of the few-shot literature as flax Linen modules."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jmeta._rows import trailing
from jmeta.nn._convolution import Conv
from jmeta.nn._pooling import max_pool

NORMALIZATIONS = ("group", "batch", "none")


class BatchStatistics(nn.Module):
    """Normalises with the mean and variance of the current batch, learned scale and bias, and no running statistics.

    Transductive: a query's output depends on the other queries, as in MAML's published numbers (Finn et al., 2017). Padded rows
    do not count.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Normalises ``x [n, ..., channels]`` over all axes but the last; ``mask [n]`` marks the real rows.

        Raises:
          ValueError: for a mask that is not one per row.
        """
        if mask is not None and mask.shape != x.shape[:1]:
            raise ValueError(f"mask must be [n] for x [n, ..., channels]; got {mask.shape} for {x.shape}.")
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        axes = tuple(range(x.ndim - 1))
        where = None
        if mask is not None:
            # A padded row may hold NaN, and in a batch without a real row any finite statistics do.
            x = jnp.where(_leading(mask, x), x, 0)
            where = _leading(mask | ~mask.any(), x)
        centered = x - x.mean(axes, keepdims=True, where=where)
        variance = jnp.square(centered).mean(axes, keepdims=True, where=where)
        return centered * (jax.lax.rsqrt(variance + self.epsilon) * trailing(scale, x)) + trailing(bias, x)


class ConvolutionalEncoder(nn.Module):
    """The four-block encoder of few-shot classification: 3x3 convolution, normalisation, ReLU, and half the size.

    With ``pooling`` every block ends in 2x2 max-pooling (Vinyals et al., 2016; Snell et al., 2017), without it the
    convolutions have stride 2 (Finn et al., 2017, on Omniglot).
    """

    features: Sequence[int] = (64, 64, 64, 64)
    pooling: bool = True
    normalization: str = "group"

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}; got {self.normalization!r}.")
        _check_widths(self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Maps images ``[n, height, width, channels]`` to features ``[n, d]``.

        Raises:
          ValueError: for anything but images, and for images that the blocks halve to nothing.
        """
        if x.ndim != 4 or 0 in x.shape[1:]:
            raise ValueError(f"x must be images [n, height, width, channels] of at least one pixel and one channel; got {x.shape}.")
        blocks = len(self.features)
        if self.pooling and min(x.shape[1:3]) < 2**blocks:
            raise ValueError(
                f"x must be images of at least {2**blocks} x {2**blocks} pixels, which {blocks} blocks halve to one; got "
                f"{x.shape[1]} x {x.shape[2]}: take larger images, fewer features (one block each), or pooling=False."
            )
        for features in self.features:
            strides = (1, 1) if self.pooling else (2, 2)
            x = Conv(features, (3, 3), strides)(x)
            if self.normalization == "batch":
                x = BatchStatistics()(x, mask)
            elif self.normalization == "group":
                x = nn.GroupNorm(num_groups=None, group_size=min(features, 16))(x)
            x = nn.relu(x)
            x = max_pool(x, (2, 2), (2, 2)) if self.pooling else x
        return _flat(x)


class MultilayerPerceptron(nn.Module):
    """Dense layers with an activation after each but the last.

    ``MultilayerPerceptron((40, 40, 1))`` is the network of MAML's sinusoid regression.
    """

    features: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    normalization: str = "none"

    def __post_init__(self) -> None:
        _check_widths(self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[n, ...]`` to ``[n, features[-1]]``.

        Raises:
          ValueError: for examples without a number.
        """
        if x.ndim == 0 or 0 in x.shape[1:]:
            raise ValueError(f"x must be [n, ...] with at least one number in each example; got {x.shape}.")
        x = _flat(x)
        for features in self.features[:-1]:
            x = self.activation(nn.Dense(features)(x))
        return nn.Dense(self.features[-1])(x)


def _check_widths(features: Sequence[int]) -> None:
    if np.ndim(features) != 1 or not len(features) or min(features) < 1:
        raise ValueError(f"features must hold a positive width for each layer, at least one; got {features!r}.")


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _leading(mask: jax.Array, x: jax.Array) -> jax.Array:
    """Gives a vector of rows the rank of ``x``."""
    return mask.reshape(-1, *[1] * (x.ndim - 1))
