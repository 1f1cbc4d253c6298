"""Sums of sines, after the harmonic functions of Lacoste et al. (2018, 1806.07528)."""

import math

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Sampler
from jmeta.tasks._functions import INPUTS, Interval, functions, uniform


def harmonic(
    *,
    shots: int = 10,
    queries: int = 10,
    terms: int = 2,
    frequency: Interval = (0.5, 1.5),
    x: Interval = INPUTS,
    noise: float = 0.0,
) -> Sampler:
    r"""Draws tasks :math:`y = \sum_{k=1}^K a_k \sin(k \omega x + b_k)` with standard normal amplitudes and uniform phases.

    The paper has two terms, frequencies from 5 to 7, noise of 0.1 and inputs around a centre that belongs to the task.

    Args:
      shots: support examples, ``[shots, 1]``.
      queries: query examples, ``[queries, 1]``.
      terms: K, how many sines are added up.
      frequency: the interval of :math:`\omega`, in radians per unit of x.
      x: the interval of the inputs.
      noise: standard deviation of what is added to every target.

    Raises:
      ValueError: if ``shots``, ``queries`` or ``terms`` is no whole number of at least 1, an interval is empty, or ``noise`` is
        negative.
    """
    check_counts(terms=terms)

    def draw(data: dict[str, jax.Array], key: jax.Array, x: jax.Array) -> jax.Array:
        amplitude_key, phase_key, frequency_key = jax.random.split(key, 3)
        amplitudes = jax.random.normal(amplitude_key, (terms,))
        phases = jax.random.uniform(phase_key, (terms,), maxval=2 * math.pi)
        angles = uniform(frequency_key, (), data["frequency"]) * x * jnp.arange(1, terms + 1)[None] + phases[None]
        return (amplitudes[None] * jnp.sin(angles)).sum(axis=1, keepdims=True)

    return functions(draw, {"frequency": frequency, "x": x}, shots=shots, queries=queries, noise=noise)
