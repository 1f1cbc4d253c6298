"""Which eigenvalues of a Gramian are more than rounding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Spectrum(NamedTuple):
    """Attributes: ``values [tasks]`` in ascending order, ``vectors [tasks, tasks]`` in columns, and which are ``kept [tasks]``.

    Those that are not kept span the combinations of gradients that vanish, among them the absent tasks.
    """

    values: jax.Array
    vectors: jax.Array
    kept: jax.Array


def spectrum(gramian: jax.Array, present: jax.Array) -> Spectrum:
    """Decomposes a Gramian ``[tasks, tasks]``; kept is what lies above the largest eigenvalue times the tasks times rounding."""
    values, vectors = jnp.linalg.eigh(gramian)
    return Spectrum(values, vectors, values > values[-1] * present.sum() * jnp.finfo(gramian.dtype).eps)


def power(known: Spectrum, exponent: float) -> jax.Array:
    """Raises the kept eigenvalues ``[tasks]`` to a power; the others become 0, as in a pseudo-inverse."""
    return jnp.where(known.kept, jnp.where(known.kept, known.values, 1) ** exponent, 0)
