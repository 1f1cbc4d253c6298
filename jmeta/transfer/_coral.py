"""Deep CORAL (Sun and Saenko, 2016, 1607.01719), equations 1 to 3.

The Transfer-Learning-Library drops the factor 1/4 and adds the mean squared difference of the means.
"""

import jax
import jax.numpy as jnp

from jmeta.transfer._alignment import Alignment, Domain, Strength, alignment_by, shares, vectors


def coral(*, strength: Strength = 1.0) -> Alignment:
    r"""Draws the covariances of the features together.

    .. math:: \lambda \frac{1}{4 d^2} \lVert C_s - C_t \rVert_F^2

    with :math:`d` features and covariances over :math:`n - 1`. One row alone has a covariance of 0.

    Args:
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.
    """

    def distance(source: Domain, target: Domain) -> jax.Array:
        between = covariance(source) - covariance(target)
        return jnp.square(between).sum() / (4 * len(between) ** 2)

    return alignment_by(distance, strength)


def covariance(domain: Domain) -> jax.Array:
    """Computes the covariance ``[d, d]`` of the features of the real rows, over one less than their number."""
    rows, share = vectors(domain), shares(domain)
    centred = rows - (share @ rows)[None]
    count = domain.batch.real.sum()
    return (centred * share[:, None]).T @ centred * (count / jnp.maximum(count - 1, 1)).astype(rows.dtype)
