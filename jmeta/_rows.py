"""The rows of one task: which are real, what each counts, and what stands in the place of the others."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Batch, Mask


def count_rows(tree: Any) -> int:
    """Reads n off leaves ``[n, ...]``."""
    return jax.tree.leaves(tree)[0].shape[0]


def fill(tree: Any, mask: Mask) -> Any:
    """Puts the first real row in the place of every masked one, in leaves ``[n, ...]``.

    A ``where`` behind a masked value that is not finite, or at which a model or a loss has no derivative, keeps the value right
    and makes the gradient NaN; so nobody gets to see one. Without a real row, numbers become 1 and everything else 0.
    """
    if mask is None:
        return tree
    first = mask.argmax()

    def filled(leaf: jax.Array) -> jax.Array:
        row = jnp.where(mask.any(), leaf[first], jnp.asarray(_blank(leaf), leaf.dtype))
        return jnp.where(like(mask, leaf), leaf, row[None])

    return jax.tree.map(filled, tree)


def fill_batch(batch: Batch) -> Batch:
    """Fills the masked rows of inputs and targets."""
    x, y = fill((batch.x, batch.y), batch.mask)
    return batch._replace(x=x, y=y)


def fill_absent(targets: Any, counts: jax.Array) -> Any:
    """Puts the first target of its column that counts in the place of each that does not.

    A column is what rows have in common: an entry of the axes of ``counts [n, ...]`` behind the first. Where none of it counts,
    numbers become 1 and everything else 0. Targets whose first axes are others stay as they are.
    """
    real = jnp.asarray(counts != 0)
    first, some = real.argmax(axis=0), real.any(axis=0)

    def filled(leaf: jax.Array) -> jax.Array:
        if leaf.shape[: counts.ndim] != counts.shape:
            return leaf
        found = jnp.take_along_axis(leaf, like(first, leaf[0])[None], axis=0)
        found = jnp.where(like(some, leaf[0])[None], found, jnp.asarray(_blank(leaf), leaf.dtype))
        return jnp.where(like(real, leaf), leaf, found)

    return jax.tree.map(filled, targets)


def shield(outputs: Any, counts: jax.Array) -> Any:
    """Lets no derivative back into outputs that do not count, not even that of a loss which is undefined there."""

    def shielded(leaf: jax.Array) -> jax.Array:
        if leaf.shape[:1] != counts.shape[:1]:
            return leaf
        entries = leaf.shape[: counts.ndim] == counts.shape
        real = counts != 0 if entries else (counts != 0).reshape(len(counts), -1).any(axis=1)
        return jnp.where(like(real, leaf), leaf, jax.lax.stop_gradient(leaf))

    return jax.tree.map(shielded, outputs)


def counts_of(batch: Batch, classes: Mask = None) -> jax.Array | None:
    """Says what each target counts, ``[n, ...]``; None where all count alike.

    Rows that are masked, and labels of classes that are not among the real ``classes``, count 0.
    """
    real = batch.mask
    if classes is not None and has_labels(batch):
        known = members(batch, classes).any(axis=1)
        real = known if real is None else real & known
    if real is None or batch.weights is None:
        return batch.weights if real is None else real.astype(float)
    return jnp.where(like(real, batch.weights), batch.weights, 0)


def presence(batch: Batch) -> jax.Array | None:
    """Says whether anything in a batch counts; None where it is plain that all does."""
    if batch.mask is None and batch.weights is None:
        return None
    counts = counts_of(batch)
    return None if counts is None else (counts != 0).any()


def mean_over_rows(values: jax.Array, counts: jax.Array | None = None) -> jax.Array:
    """Averages ``[n, ...]`` values, each counting what ``counts``, of their first axes, says; 0 where nothing counts."""
    if counts is None:
        return values.mean()
    values = values if jnp.issubdtype(values.dtype, jnp.inexact) else values.astype(float)
    # Half precision sums in float32, as in a plain mean: 1,000 losses of 100 are beyond float16.
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    counts = jnp.broadcast_to(like(counts, wide), wide.shape).astype(wide.dtype)
    total = counts.sum()
    # where, not a product alone: what does not count may hold NaN.
    return (jnp.where(counts != 0, counts * wide, 0).sum() / jnp.where(total != 0, total, 1)).astype(values.dtype)


def has_labels(batch: Batch) -> bool:
    """Says whether the targets are one label per row."""
    return hasattr(batch.y, "ndim") and batch.y.ndim == 1 and jnp.issubdtype(batch.y.dtype, jnp.integer)


def members(batch: Batch, classes: jax.Array) -> jax.Array:
    """Marks the class of each row, ``[n, ways]``: nothing for a label outside the real classes."""
    return (batch.y.astype(int)[:, None] == jnp.arange(len(classes))[None]) & classes[None]


def one_hot(batch: Batch, classes: Mask) -> jax.Array:
    """Says how much each row counts for each class, ``[n, ways]``: the one-hot labels of the real rows, times their weights.

    Raises:
      ValueError: if the number of classes is not known, the targets are no labels, or the weights are not one per row.
    """
    if classes is None:
        raise ValueError("classes must mark the classes of the task, [ways], for a learner that compares classes; got None.")
    if not has_labels(batch):
        raise ValueError(f"y must hold one integer label per row, [n]; got {jax.tree.map(jnp.shape, batch.y)}.")
    found = members(batch, classes).astype(float)
    counts = counts_of(batch)
    if counts is None:
        return found
    if counts.shape != batch.y.shape:
        raise ValueError(f"weights must be one per row, [n], for a learner that compares classes; got {counts.shape}.")
    return found * counts[:, None]


def class_means(features: jax.Array, members: jax.Array) -> jax.Array:
    """Averages features ``[n, d]`` within each class, by ``members [n, ways]``; 0 where nothing counts."""
    counts = members.sum(axis=0)
    return (members.T @ features) / jnp.where(counts > 0, counts, 1)[:, None]


def shots(members: jax.Array) -> jax.Array:
    """Makes shots of what rows count for each class, ``[n, ways]``: their mean over the rows that count is 1."""
    counts = members.sum(axis=1)
    rows, total = (counts > 0).sum(), counts.sum()
    return members * rows / jnp.where(total > 0, total, 1)


def like(leading: jax.Array, values: jax.Array) -> jax.Array:
    """Gives an array of first axes the rank of ``values``."""
    return leading.reshape(*leading.shape, *[1] * (values.ndim - leading.ndim))


def trailing(vector: jax.Array, values: jax.Array) -> jax.Array:
    """Gives a vector of the last axis, of channels, the rank of ``values``."""
    return vector.reshape(*[1] * (values.ndim - 1), -1)


def _blank(leaf: jax.Array) -> int:
    # Not 0: losses by distance, ratio or logarithm are undefined there.
    return int(jnp.issubdtype(leaf.dtype, jnp.inexact))
