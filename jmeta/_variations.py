"""Tasks changed in ways that must not matter to a learner, or must. Everything here is on the host."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._rows import count_rows
from jmeta._types import Batch, Episode

# What stands where nothing counts: not a number, infinite, finite but far off.
STRANGE = (np.nan, np.inf, 1e6)


def with_support_of_both(one: Episode, other: Episode) -> Episode:
    """Gives a task the support of two, so that a class with one example has two that differ."""
    support = jax.tree.map(lambda *leaves: np.concatenate(leaves), one.support, other.support)
    return one._replace(support=support)


def numbered(episodes: list[Episode]) -> Episode:
    """Stacks tasks to a batch, leaves ``[tasks, ...]``, that says of itself that it is one."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *episodes)
    return stacked._replace(task=np.arange(len(episodes)))


def turned(batch: Batch) -> Batch:
    """Reverses the rows."""
    return jax.tree.map(lambda leaf: leaf[::-1], batch)


def explicit(episode: Episode, *, padding: int) -> Episode:
    """Says of both parts what they leave unsaid: weights of 1 and, with ``padding``, masked rows before and after."""

    def change(batch: Batch) -> Batch:
        rows, weights = count_rows(batch.x), batch.weights
        batch = batch._replace(weights=np.ones(rows, jnp.result_type(float)) if weights is None else weights)
        if not padding:
            return batch
        mask = real(batch)
        longer = jax.tree.map(lambda leaf: leaf[[0] * padding + [*range(rows)] + [rows - 1] * padding], batch._replace(mask=mask))
        return longer._replace(mask=np.concatenate([np.zeros(padding, bool), mask, np.zeros(padding, bool)]))

    return both(episode, change)


def estranged(tree: Any, rows: np.ndarray, value: float) -> Any:
    """Puts ``value`` into ``rows [n, ...]`` of leaves ``[n, ...]``; into integers their largest one, or another one that occurs."""

    def change(leaf: np.ndarray) -> np.ndarray:
        leaf = np.array(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            leaf[rows] = value
        elif leaf.dtype == bool:
            leaf[rows] = ~leaf[rows]
        elif np.isfinite(value):
            low, high = leaf.min(), leaf.max()
            leaf[rows] = np.where(leaf[rows] == high, low, leaf[rows] + 1)
        else:
            leaf[rows] = np.iinfo(leaf.dtype).max
        return leaf

    return jax.tree.map(change, tree)


def with_strange_padding(episode: Episode, value: float) -> Episode:
    """Puts ``value`` into everything that is masked."""
    return both(episode, lambda batch: with_strange_rows(batch, ~real(batch), value))


def with_strange_rows(batch: Batch, rows: np.ndarray, value: float) -> Batch:
    """Puts ``value`` into everything that ``rows [n]`` hold."""
    x, y, weights = estranged((batch.x, batch.y, batch.weights), rows, value)
    return batch._replace(x=x, y=y, weights=weights)


def weighing(episode: Episode, change: Callable[[np.ndarray, Batch], np.ndarray]) -> Episode:
    """Changes the weights of both parts, ``change(weights, batch)``."""

    def changed(leaf: np.ndarray, batch: Batch) -> np.ndarray:
        return np.asarray(change(leaf, batch), leaf.dtype)

    return both(
        episode, lambda batch: batch._replace(weights=jax.tree.map(lambda leaf: changed(np.array(leaf), batch), batch.weights))
    )


def with_weight_of_first(episode: Episode, weight: float, strange: float | None = None) -> Episode:
    """Weighs the first real row of both parts anew, and makes its targets strange."""

    def is_first(batch: Batch) -> np.ndarray:
        return np.arange(count_rows(batch.x)) == real(batch).argmax()

    weighed = weighing(episode, lambda weights, batch: np.where(_like(is_first(batch), weights), weight, weights))
    if strange is None:
        return weighed
    return both(weighed, lambda batch: batch._replace(y=estranged(batch.y, is_first(batch), strange)))


def both(episode: Episode, change: Callable[[Batch], Batch]) -> Episode:
    return episode._replace(support=change(episode.support), query=change(episode.query))


def without_last_class(episode: Episode) -> Episode:
    """Leaves the last real class out of ``classes``, though rows of it stay."""
    classes = np.array(episode.classes)
    classes[np.flatnonzero(classes)[-1]] = False
    return episode._replace(classes=classes)


def without_rows_of_others(episode: Episode) -> Episode:
    """Gives rows whose class is not real the weight 0."""
    classes = np.asarray(episode.classes)
    return weighing(episode, lambda weights, batch: np.where(_like(classes[batch.y], weights), weights, 0))


def first_rows(batch: Batch, count: int) -> Batch:
    """Masks all but the first ``count`` real rows."""
    mask = real(batch)
    return batch._replace(mask=mask & (np.cumsum(mask) <= count))


def real_rows(tree: Any, batch: Batch) -> Any:
    """Takes the real rows of leaves ``[n, ...]``."""
    return jax.tree.map(lambda leaf: leaf[real(batch)], tree)


def real(batch: Batch) -> np.ndarray:
    """``[n]``, true for the real rows."""
    return np.ones(count_rows(batch.x), bool) if batch.mask is None else np.asarray(batch.mask)


def _like(rows: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, *[1] * (leaf.ndim - 1))
