"""What a learner that reads examples is told of them: a vector for each input, numbers for each target, and their order."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._rows import counts_of, fill, fill_batch, has_labels, one_hot
from jmeta._sentences import kinds, shapes
from jmeta._types import Batch, Key, Mask, Model, Params


class Told(NamedTuple):
    """The targets of a support as rows of numbers.

    Attributes:
      values: ``[n, k]``, labels one-hot; 0 in rows that do not count.
      counts: ``[n]``, what each row counts.
    """

    values: jax.Array
    counts: jax.Array


def told(support: Batch, classes: Mask) -> Told:
    """Reads the targets of a support.

    Raises:
      ValueError: if there are labels but the classes are not known, or the weights are not one per row.
    """
    if has_labels(support):
        counted = one_hot(support, classes)
        return Told((counted > 0).astype(counted.dtype), counted.sum(axis=1))
    values, counts = numbers(fill_batch(support).y), counts_of(support)
    if counts is None:
        return Told(values, jnp.ones(len(values), values.dtype))
    if counts.shape != (len(values),):
        raise ValueError(f"weights of the support must be one per row, [n], for a learner that reads rows; got {counts.shape}.")
    return Told(jnp.where(counts[:, None] > 0, values, 0), counts.astype(values.dtype))


def numbers(tree: Any) -> jax.Array:
    """Writes leaves ``[n, ...]`` as rows of numbers ``[n, k]``, of the usual precision at least."""
    rows = [jnp.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate([row.astype(jnp.result_type(row.dtype, float)) for row in rows], axis=1)


def check_width(values: jax.Array, known: int) -> None:
    """Checks that a task has targets as wide as those that a learner was made for.

    Raises:
      ValueError: if it has not, such as labels of other ways.
    """
    if values.shape[1] != known:
        raise ValueError(
            f"targets must be {known} numbers each (of labels, one for each class), as in the task that init was given; got "
            f"{values.shape[1]}."
        )


def encode(encoder: Model, params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
    """Makes vectors ``[n, d]`` of inputs.

    Raises:
      ValueError: if the encoder gives something else.
    """
    vectors = encoder.apply(params, fill(x, mask), key=key, mask=mask)
    if not hasattr(vectors, "ndim") or vectors.ndim != 2:
        raise ValueError(f"the encoder must give one vector for each row, [n, d]; got {kinds(vectors)} for x of {shapes(x)}.")
    return vectors


def order_of(key: Key, real: jax.Array, *, shuffles: bool, real_last: bool = False) -> jax.Array:
    """Gives the order ``[n]`` in which rows are read: the real ones together, as they stand or in an order drawn from the key.

    Raises:
      ValueError: if the order is to be drawn and there is no key.
    """
    if not shuffles:
        return jnp.argsort(real if real_last else ~real)
    if key is None:
        raise ValueError("key must be there, for the order of the support is drawn from it (unless shuffles=False); got None.")
    ranks = jax.random.uniform(key, real.shape)
    return jnp.argsort(jnp.where(real, ranks, -1 if real_last else 2))
