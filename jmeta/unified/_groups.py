"""Groups of parameters: what of a tree of weights has an attention, a step size and a gate of its own."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jmeta._rows import trailing
from jmeta._types import Params

Groups = Literal["tensor", "channel"]  # Each tensor, or each output channel: each entry of a tensor's last axis.
GROUPS: tuple[Groups, ...] = ("tensor", "channel")


def sizes_of(weights: Params, groups: Groups) -> list[int]:
    """Counts the groups of each tensor, in the order of the tree."""
    return [leaf.shape[-1] if groups == "channel" and leaf.ndim else 1 for leaf in jax.tree.leaves(weights)]


def count_groups(weights: Params, groups: Groups) -> int:
    """Counts the groups of all tensors."""
    return sum(sizes_of(weights, groups))


def parted(values: jax.Array, weights: Params, groups: Groups) -> list[jax.Array]:
    """Parts ``values [groups, ...]`` into those of each tensor."""
    ends = [*itertools.accumulate(sizes_of(weights, groups))]
    return jnp.split(values, ends[:-1]) if ends else []


def map_groups(function: Callable[[jax.Array, jax.Array], Any], weights: Params, values: jax.Array, groups: Groups) -> Any:
    """Calls ``function(leaf, values of its groups)`` for each tensor."""
    leaves, structure = jax.tree.flatten(weights)
    return jax.tree.unflatten(structure, [function(*one) for one in zip(leaves, parted(values, weights, groups), strict=True)])


def spread(values: jax.Array, leaf: jax.Array) -> jax.Array:
    """Gives ``values [groups]`` of a tensor its rank."""
    return trailing(values, leaf) if leaf.ndim else values[0]


def squared_lengths(gradient: Params, groups: Groups) -> jax.Array:
    """Gives the squared length of each group, ``[groups]``."""

    def of_leaf(leaf: jax.Array, count: int) -> jax.Array:
        axes = tuple(range(leaf.ndim - 1)) if count > 1 else None
        return jnp.square(leaf).sum(axis=axes).reshape(count)

    return jnp.concatenate([of_leaf(*one) for one in zip(jax.tree.leaves(gradient), sizes_of(gradient, groups), strict=True)])


def mix(bank: jax.Array, shares: jax.Array) -> jax.Array:
    """Adds up ``bank [experiences, ...]`` by the shares ``[groups, experiences]`` of its groups."""
    if len(shares) == 1:
        return jnp.tensordot(shares[0], bank, axes=1)
    return jnp.einsum("b...g,gb->...g", bank, shares)
