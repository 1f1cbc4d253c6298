"""Logistic regression by Newton's method (Bertinetto, Henriques, Torr and Vedaldi, 2019, 1805.08136), section 3.3."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta.metric_based.heads._rows import ridged, solvable


def logistic_head(features: jax.Array, members: jax.Array, *, regularization: Any, num_steps: int = 10) -> jax.Array:
    r"""Gives the linear head W of one logistic regression for each class against the others.

    .. math:: \min_{w_k} \sum_i m_i \log(1 + \exp(-s_{ik} f_i w_k)) + \lambda / 2 \, |w_k|^2

    with signs s, +1 for the rows of class k. A step of Newton's method solves the smaller of the two systems, of features or of
    rows; there is no search along it, and with features that are large for :math:`\lambda` a step can go too far. m is 1 in the
    mean over the rows that count.

    Args:
      features: ``[n, d]``.
      members: ``[n, ways]``, how much each row counts for each class.
      regularization: :math:`\lambda`, positive; a number that may be learnt.
      num_steps: of Newton's method, from 0; each is differentiated.

    Returns:
      ``[d, ways]``, of the type of the features.

    Raises:
      ValueError: if the shapes are others.
    """
    given = features.dtype
    x, members = solvable(features, members)
    counts, ridge = members.sum(axis=1), jnp.asarray(regularization, x.dtype)
    rows, width = x.shape
    by_rows = rows < width
    # Of rows: w = x^T a, where (S K + lambda) a' = S K a + m (y - p), which needs no inverse of the curvatures S.
    basis, left = (x @ x.T, jnp.eye(rows, dtype=x.dtype)) if by_rows else (x, x.T)

    def of_class(own: jax.Array) -> jax.Array:
        weights, target = jnp.zeros(basis.shape[1], x.dtype), (own > 0).astype(x.dtype)
        for _ in range(num_steps):
            logits = basis @ weights
            shares = jax.nn.sigmoid(logits)
            curvatures = counts * shares * (1 - shares)
            right = left @ (curvatures * logits + counts * (target - shares))
            weights = jnp.linalg.solve(ridged(left @ (curvatures[:, None] * basis), ridge), right)
        return x.T @ weights if by_rows else weights

    return jax.vmap(of_class, in_axes=1, out_axes=1)(members).astype(given)
