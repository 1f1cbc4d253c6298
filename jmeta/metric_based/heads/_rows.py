"""What the heads share: numbers of enough precision to solve with."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._rows import shots


def solvable(features: jax.Array, members: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives features and shots in float32 at least, for half precision cannot be solved with.

    Raises:
      ValueError: if they are not ``[n, d]`` and ``[n, ways]``.
    """
    if features.ndim != 2 or members.ndim != 2 or len(features) != len(members):
        raise ValueError(f"features and members must be [n, d] and [n, ways]; got {features.shape} and {members.shape}.")
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    return features.astype(dtype), shots(members).astype(dtype)


def ridged(matrix: jax.Array, ridge: Any) -> jax.Array:
    """Adds a ridge to the diagonal of a matrix ``[k, k]`` without negative eigenvalues, so that it can be solved with.

    What its entries are rounded to is added too: of features of a large scale it exceeds the ridge, and a factorisation would meet
    eigenvalues below 0.
    """
    rounding = jnp.finfo(matrix.dtype).eps * jax.lax.stop_gradient(jnp.trace(matrix))
    return matrix + (ridge + rounding) * jnp.eye(len(matrix), dtype=matrix.dtype)
