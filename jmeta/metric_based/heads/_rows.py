"""What the heads share: numbers of enough precision to solve with."""

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
