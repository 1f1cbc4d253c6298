"""The classifier of Simple CNAPS (Bateni, Goyal, Masrani, Wood and Sigal, 2020, 1912.03432), equations 2 to 4."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from jmeta.metric_based.heads._rows import ridged, solvable


class Gaussians(NamedTuple):
    """What a task says of its classes.

    Attributes:
      means: ``[ways, d]``.
      factors: ``[ways, d, d]``, the Cholesky factors of the covariances.
    """

    means: jax.Array
    factors: jax.Array


def mahalanobis_head(features: jax.Array, members: jax.Array, *, regularization: float = 1.0) -> Gaussians:
    r"""Gives the mean of each class and its covariance, drawn towards that of the task.

    .. math:: Q_k = \lambda_k \Sigma_k + (1 - \lambda_k) \Sigma + \beta I, \quad \lambda_k = \frac{n_k}{n_k + 1}

    with unbiased covariances of the class and of the whole support (0 of one shot). m is 1 in the mean over the rows that count,
    and :math:`n_k` the sum of a class.

    Args:
      features: ``[n, d]``.
      members: ``[n, ways]``, how much each row counts for each class.
      regularization: :math:`\beta`, positive.

    Raises:
      ValueError: if the shapes are others.
    """
    features, members = solvable(features, members)
    counts = members.sum(axis=0)
    means, covariances = jax.vmap(lambda weights: _moments(features, weights), in_axes=1)(members)
    _, whole = _moments(features, members.sum(axis=1))
    shares = (counts / (counts + 1))[:, None, None]
    drawn = shares * covariances + (1 - shares) * whole[None]
    return Gaussians(means, jnp.linalg.cholesky(jax.vmap(lambda matrix: ridged(matrix, regularization))(drawn)))


def mahalanobis_distances(features: jax.Array, head: Gaussians) -> jax.Array:
    r"""Gives :math:`(f - \mu_k)^T Q_k^{-1} (f - \mu_k)`, ``[n, ways]``.

    Args:
      features: ``[n, d]``.
      head: of the classes.
    """

    def from_class(mean: jax.Array, factor: jax.Array) -> jax.Array:
        return jnp.square(solve_triangular(factor, (features.astype(mean.dtype) - mean[None]).T, lower=True)).sum(axis=0)

    return jax.vmap(from_class, out_axes=1)(*head)


def _moments(features: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    total = weights.sum()
    mean = weights @ features / jnp.where(total > 0, total, 1)
    centred = jnp.where(weights[:, None] > 0, features - mean[None], 0)
    # One row has no deviation; what is divided is 0.
    return mean, (weights[:, None] * centred).T @ centred / jnp.where(total > 1, total - 1, 1)
