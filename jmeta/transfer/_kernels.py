"""Kernels of the rows of two domains, and the distance of two means in the space of a kernel."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jmeta._distances import squared_distances
from jmeta._options import check_positive
from jmeta.transfer._alignment import Domain, shares, vectors

WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)


def check_widths(widths: Sequence[float]) -> None:
    """Checks the widths of kernels.

    Raises:
      ValueError: if there is none, or one is not positive.
    """
    if not widths:
        raise ValueError("widths must hold the width of at least one kernel; got none.")
    for at, width in enumerate(widths):
        check_positive(**{f"widths[{at}]": width})


def gaussian_kernels(source: Domain, target: Domain, widths: Sequence[float]) -> jax.Array:
    """Adds up kernels of the features of all rows of both domains, ``[n + m, n + m]``."""
    share = jnp.concatenate([shares(source) * source.batch.real.sum(), shares(target) * target.batch.real.sum()])
    rows = jnp.concatenate([vectors(source), vectors(target)])
    distances = squared_distances(rows, rows)
    mean = jax.lax.stop_gradient(share @ distances @ share) / jnp.square(jnp.maximum(share.sum(), 1))
    # All rows alike: any width says so.
    scaled = distances / (2 * jnp.where(mean > 0, mean, 1))
    return sum((jnp.exp(-scaled / width) for width in widths), jnp.zeros_like(scaled))


def discrepancy(kernel: jax.Array, source: Domain, target: Domain) -> jax.Array:
    """Computes the squared distance of two means from the kernel of all pairs of rows."""
    sides = jnp.concatenate([shares(source), -shares(target)])
    return sides @ kernel @ sides
