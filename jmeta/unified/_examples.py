"""What a task encoder sees of a batch: a row of numbers for each input and for each target."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jmeta._rows import counts_of, fill_absent, fill_batch, like
from jmeta._types import Batch, Mask


class Examples(NamedTuple):
    """The examples of a batch as rows of numbers.

    Attributes:
      x: ``[m, inputs]``.
      y: ``[m, targets]``.
      real: ``[m]``, which of them count.
      batch: whose targets stand for these.
      shape: of the examples, ``(m,)``, or ``(n, *space)`` where every location is one.
    """

    x: jax.Array
    y: jax.Array
    real: jax.Array
    batch: Batch
    shape: tuple[int, ...]


def examples_of(features: Any, batch: Batch, outputs: Any, classes: Mask = None) -> Examples:
    """Flattens features and targets; where outputs lie in the space of the features, every location is an example."""
    batch = fill_batch(batch)
    leaves = jax.tree.leaves(outputs)
    located = hasattr(features, "ndim") and len(leaves) == 1 and features.ndim == leaves[0].ndim > 2
    if located:
        batch = _picked(batch, features.shape[1:-1])
    counts, rows = counts_of(batch, classes), len(jax.tree.leaves(batch.y)[0])
    targets = batch.y if counts is None else fill_absent(batch.y, counts)
    shape = (rows, *features.shape[1:-1]) if located else (rows,)
    count = math.prod(shape)
    classes_of = leaves[0].shape[-1] if len(leaves) == 1 else None
    y = [_numbers(leaf, shape, classes_of) for leaf in jax.tree.leaves(targets)]
    x = [leaf.reshape(count, -1).astype(y[0].dtype) for leaf in jax.tree.leaves(features)]
    if counts is None:
        real = jnp.ones(count, bool)
    else:
        real = jnp.broadcast_to(like(counts != 0, jnp.zeros(shape)), (*shape, *counts.shape[len(shape) :]))
        real = real.reshape(count, -1).any(axis=1)
    y = jnp.concatenate(y, axis=1)
    return Examples(jnp.concatenate(x, axis=1), jnp.where(real[:, None], y, 0), real, batch, shape)


def width_of_outputs(examples: Examples, outputs: Any) -> int:
    """Counts the numbers of one example of the outputs."""
    return ravel_pytree(_of_one(examples, outputs))[0].size


def outputs_from(rows: jax.Array, examples: Examples, outputs: Any) -> Any:
    """Gives ``rows [m, width]`` the structure of outputs."""
    found = jax.vmap(ravel_pytree(_of_one(examples, outputs))[1])(rows)
    return jax.tree.map(lambda leaf: leaf.reshape(*examples.shape, *leaf.shape[1:]), found)


def _of_one(examples: Examples, outputs: Any) -> Any:
    """Gives zeros like the outputs of one example, in the precision of the rows."""
    axes = len(examples.shape)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[axes:], examples.x.dtype), outputs)


def _picked(batch: Batch, space: tuple[int, ...]) -> Batch:
    """Takes of targets and weights ``[n, *SPACE, ...]`` one entry for each location of a coarser space."""

    def picked(leaf: Any) -> Any:
        if leaf.ndim <= len(space):
            return leaf
        steps = [slice(None, None, max(large // small, 1)) for large, small in zip(leaf.shape[1:], space, strict=False)]
        return leaf[(slice(None), *steps)][(slice(None), *(slice(size) for size in space))]

    y, weights = jax.tree.map(picked, (batch.y, batch.weights))
    return batch._replace(y=y, weights=weights)


def _numbers(leaf: jax.Array, shape: tuple[int, ...], classes: int | None) -> jax.Array:
    """Writes targets ``[*shape, ...]`` as rows of numbers, labels one-hot."""
    if classes is not None and jnp.issubdtype(leaf.dtype, jnp.integer) and leaf.ndim == len(shape):
        return jax.nn.one_hot(leaf.reshape(-1), classes)
    return leaf.reshape(math.prod(shape), -1).astype(jnp.promote_types(leaf.dtype, jnp.float32))
