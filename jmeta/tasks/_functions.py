"""What samplers of functions of one number have in common: inputs, targets, noise, and the two halves of an episode."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Batch, Episode, Sampler

Interval = tuple[float, float]
INPUTS: Interval = (-5.0, 5.0)


def functions(
    draw: Callable[[dict[str, jax.Array], jax.Array, jax.Array], jax.Array],
    intervals: Mapping[str, Interval],
    *,
    shots: int,
    queries: int,
    noise: float,
) -> Sampler:
    """Draws a function and where it is looked at.

    Args:
      draw: ``(data, key, x [n, 1]) -> y [n, 1]``, a function drawn from the key.
      intervals: by name, what it draws from; ``x`` among them is the interval of the inputs.
      shots: support examples, ``[shots, 1]``.
      queries: query examples, ``[queries, 1]``.
      noise: standard deviation of what is added to every target.

    Raises:
      ValueError: if ``shots`` or ``queries`` is no whole number of at least 1, an interval is empty, or ``noise`` is negative.
    """
    check_counts(shots=shots, queries=queries)
    for name, (low, high) in intervals.items():
        if not low <= high:
            raise ValueError(f"{name} must be an interval (low, high); got ({low}, {high}).")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a standard deviation of at least 0; got {noise}.")
    data = {"noise": jnp.array(noise)} | {name: jnp.array(interval) for name, interval in intervals.items()}

    def sample(data: dict[str, jax.Array], key: jax.Array) -> Episode:
        function_key, x_key, noise_key = jax.random.split(key, 3)
        x = uniform(x_key, (shots + queries, 1), data["x"])
        y = draw(data, function_key, x) + data["noise"] * jax.random.normal(noise_key, x.shape)
        return Episode(Batch(x[:shots], y[:shots]), Batch(x[shots:], y[shots:]))

    return Sampler(data, sample)


def uniform(key: jax.Array, shape: tuple[int, ...], interval: Any) -> jax.Array:
    """Draws from an interval ``(low, high)``."""
    return jax.random.uniform(key, shape, minval=interval[0], maxval=interval[1])
