"""What the heads share: shots, and numbers of enough precision to solve with."""

import jax
import jax.numpy as jnp


def shots(members: jax.Array) -> jax.Array:
    """Makes shots of weights ``[n, ways]``: their mean over the rows that count is 1."""
    counts = members.sum(axis=1)
    rows, total = (counts > 0).sum(), counts.sum()
    return members * rows / jnp.where(total > 0, total, 1)


def solvable(features: jax.Array, members: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives features and shots in float32 at least, for half precision cannot be solved with.

    Raises:
      ValueError: if they are not ``[n, d]`` and ``[n, ways]``.
    """
    if features.ndim != 2 or members.ndim != 2 or len(features) != len(members):
        raise ValueError(f"features and members must be [n, d] and [n, ways]; got {features.shape} and {members.shape}.")
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    return features.astype(dtype), shots(members).astype(dtype)
