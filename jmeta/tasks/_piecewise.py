"""Continuous functions made of straight pieces."""

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Sampler
from jmeta.tasks._functions import INPUTS, Interval, functions, uniform


def piecewise(
    *,
    shots: int = 10,
    queries: int = 10,
    pieces: int = 3,
    height: Interval = (-3.0, 3.0),
    x: Interval = INPUTS,
    noise: float = 0.0,
) -> Sampler:
    """Draws tasks that are linear between evenly spaced knots, with uniform heights at them.

    Args:
      shots: support examples, ``[shots, 1]``.
      queries: query examples, ``[queries, 1]``.
      pieces: how many straight pieces there are, one fewer than knots.
      height: the interval of what the function is at a knot.
      x: the interval of the inputs, which the pieces part evenly.
      noise: standard deviation of what is added to every target.

    Raises:
      ValueError: if ``shots``, ``queries`` or ``pieces`` is no whole number of at least 1, an interval is empty, or ``noise`` is
        negative.
    """
    check_counts(pieces=pieces)

    def draw(data: dict[str, jax.Array], key: jax.Array, x: jax.Array) -> jax.Array:
        heights = uniform(key, (pieces + 1,), data["height"])
        return jnp.interp(x, jnp.linspace(data["x"][0], data["x"][1], pieces + 1), heights)

    return functions(draw, {"height": height, "x": x}, shots=shots, queries=queries, noise=noise)
