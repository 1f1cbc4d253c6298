"""Predictions with a mean and a deviation, and what they cost."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm


class Gaussian(NamedTuple):
    """Independent normal distributions.

    Attributes:
      mean: ``[n, k]``.
      deviation: ``[n, k]``, the standard deviation, above 0.
    """

    mean: jax.Array
    deviation: jax.Array


def gaussian_negative_log_likelihood(outputs: Gaussian, targets: jax.Array) -> jax.Array:
    r"""Computes :math:`-\log N(y; \mu, \sigma^2)` in nats, for each number.

    >>> outputs = Gaussian(jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gaussian_negative_log_likelihood(outputs, jnp.zeros((1, 1))).round(3).tolist()  # log(2 pi) / 2
    [[0.9190000295639038]]

    Args:
      outputs: leaves ``[n, k]``.
      targets: ``[n, k]``.

    Raises:
      ValueError: if the shapes differ, which would broadcast to all pairs of rows.
    """
    if not outputs.mean.shape == outputs.deviation.shape == targets.shape:
        shapes = outputs.mean.shape, outputs.deviation.shape
        raise ValueError(f"outputs and targets must have one shape; got {shapes[0]}, {shapes[1]} and {targets.shape}.")
    return -norm.logpdf(targets, outputs.mean, outputs.deviation)


def divergence(one: Gaussian, other: Gaussian) -> jax.Array:
    r"""Adds up the Kullback-Leibler divergences :math:`D(\text{one} \| \text{other})` of all numbers, in nats."""
    ratio = one.deviation / other.deviation
    distance = (one.mean - other.mean) / other.deviation
    return (jnp.square(ratio) + jnp.square(distance) - 1).sum() / 2 - jnp.log(ratio).sum()
