"""Drawing a few of many examples."""

import jax
import jax.numpy as jnp

# From here on a permutation that is computed where it is looked at is cheaper than a random number for every example.
MANY = 2048
# Four are a pseudo-random permutation (Luby and Rackoff, 1988); two more make up for a mixing function that is no cipher.
ROUNDS = 6


def draw_distinct(key: jax.Array, count: int, size: int) -> jax.Array:
    """Draws ``size`` of the numbers 0, ..., ``count - 1`` without replacement, in random order.

    Of many numbers no more are looked at than are drawn: a Feistel network permutes the numbers of a power of 4, and what falls on
    none of the ``count`` is permuted again until it does.
    """
    if count < MANY:
        return jax.lax.top_k(jax.random.uniform(key, (count,)), size)[1]
    half = -(-(count - 1).bit_length() // 2)
    keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)

    def permuted(numbers: jax.Array) -> jax.Array:
        left, right = numbers >> half, numbers & ((1 << half) - 1)
        for at in range(ROUNDS):
            left, right = right, (left ^ _mixed(right, keys[at])) & ((1 << half) - 1)
        return (left << half) | right

    drawn = permuted(jnp.arange(size, dtype=jnp.uint32))
    within = jax.lax.while_loop(
        lambda drawn: (drawn >= count).any(), lambda drawn: jnp.where(drawn >= count, permuted(drawn), drawn), drawn
    )
    return within.astype(jnp.int32)


def _mixed(numbers: jax.Array, key: jax.Array) -> jax.Array:
    """Spreads every bit over all of 32, as the last steps of MurmurHash3 do."""
    mixed = (numbers * jnp.uint32(0x9E3779B1)) ^ key
    for shift, factor in ((15, 0x85EBCA77), (13, 0xC2B2AE3D)):
        mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
    return mixed ^ (mixed >> 16)
