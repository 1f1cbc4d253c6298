"""Ridge regression on one-hot labels (Bertinetto, Henriques, Torr and Vedaldi, 2019, 1805.08136), equations 4 and 6."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from jmeta.metric_based.heads._rows import ridged, solvable


def ridge_head(features: jax.Array, members: jax.Array, *, regularization: Any) -> jax.Array:
    r"""Gives the linear head W of least squares.

    .. math:: \min_W \sum_i m_i |f_i W - y_i|^2 + \lambda |W|^2

    by the smaller of the two systems, of features or of rows. m is 1 in the mean over the rows that count.

    Args:
      features: ``[n, d]``.
      members: ``[n, ways]``, how much each row counts for each class.
      regularization: :math:`\lambda`, positive; a number that may be learnt.

    Returns:
      ``[d, ways]``, of the type of the features.

    Raises:
      ValueError: if the shapes are others.
    """
    given = features.dtype
    features, members = solvable(features, members)
    # The square roots of what rows count, which is a constant.
    roots = jnp.sqrt(members.sum(axis=1, keepdims=True))
    x, y = roots * features, jnp.where(roots > 0, members / jnp.where(roots > 0, roots, 1), 0)
    rows, width = x.shape
    ridge = jnp.asarray(regularization, x.dtype)
    if width <= rows:
        kernel = cho_solve(cho_factor(ridged(x.T @ x, ridge)), x.T @ y)
    else:
        kernel = x.T @ cho_solve(cho_factor(ridged(x @ x.T, ridge)), y)
    return kernel.astype(given)
