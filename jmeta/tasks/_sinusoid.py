"""Sinusoid regression (Finn, Abbeel and Levine, 2017, section 5.1): the benchmark that needs no data."""

import math

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Batch, Episode, Sampler
from jmeta.tasks._functions import uniform


def sinusoid(
    *,
    shots: int = 10,
    queries: int = 10,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, math.pi),
    x: tuple[float, float] = (-5.0, 5.0),
) -> Sampler:
    r"""Draws tasks :math:`y = A \sin(x - \varphi)` with uniform amplitude, phase (radians) and inputs.

    Args:
      shots: support examples, ``[shots, 1]``.
      queries: query examples, ``[queries, 1]``.
      amplitude: the interval of A.
      phase: the interval of the phase, in radians.
      x: the interval of the inputs.

    Raises:
      ValueError: if ``shots`` or ``queries`` is no whole number of at least 1, or an interval is empty.

    >>> import jax
    >>> sampler = sinusoid(shots=5, queries=20)
    >>> sampler.sample(sampler.data, jax.random.key(0)).query.x.shape
    (20, 1)
    """
    check_counts(shots=shots, queries=queries)
    for name, (low, high) in {"amplitude": amplitude, "phase": phase, "x": x}.items():
        if not low <= high:
            raise ValueError(f"{name} must be an interval (low, high); got ({low}, {high}).")
    data = {"amplitude": jnp.array(amplitude), "phase": jnp.array(phase), "x": jnp.array(x)}

    def sample(data: dict[str, jax.Array], key: jax.Array) -> Episode:
        amplitude_key, phase_key, x_key = jax.random.split(key, 3)
        height = uniform(amplitude_key, (), data["amplitude"])
        shift = uniform(phase_key, (), data["phase"])
        inputs = uniform(x_key, (shots + queries, 1), data["x"])
        targets = height * jnp.sin(inputs - shift)
        return Episode(Batch(inputs[:shots], targets[:shots]), Batch(inputs[shots:], targets[shots:]))

    return Sampler(data, sample)
