"""From one episode to a step's worth of tasks, and from ragged tasks to one shape."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jmeta._options import check_counts
from jmeta._rows import count_rows, has_labels, members
from jmeta._sentences import kinds
from jmeta._types import Batch, Episode, Sampler
from jmeta._validation import check_one_task


def batch_tasks(sampler: Sampler, tasks: int) -> Sampler:
    """Draws ``tasks`` independent tasks at once, leaves ``[tasks, ...]``.

    Raises:
      ValueError: if ``tasks`` is no whole number of at least 1.
    """
    check_counts(tasks=tasks)
    return Sampler(sampler.data, _batched(sampler.sample, tasks))


# Kept, so that the same tasks, batched again for another stage of training, run the same compiled loop.
@functools.lru_cache(maxsize=64)
def _batched(sample: Callable[[Any, jax.Array], Any], tasks: int) -> Callable[[Any, jax.Array], Any]:
    def sample_all(data: Any, key: jax.Array) -> Any:
        drawn = jax.vmap(lambda key: sample(data, key))(jax.random.split(key, tasks))
        unnumbered = isinstance(drawn, Episode) and drawn.task is None
        return drawn._replace(task=jnp.arange(tasks)) if unnumbered else drawn

    return sample_all


def combine(samplers: Mapping[str, Sampler]) -> Sampler:
    """Draws from several samplers by name, which gives the data of a ``mixture``.

    Raises:
      ValueError: if there are none.
    """
    if not samplers:
        raise ValueError("samplers must name at least one sampler; got an empty mapping.")
    names = sorted(samplers)

    def sample(data: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, len(names))
        return {name: samplers[name].sample(data[name], part) for name, part in zip(names, keys, strict=True)}

    return Sampler({name: samplers[name].data for name in names}, sample)


def pad_episode(episode: Episode, *, support: int, query: int, ways: int | None = None) -> Episode:
    """Pads a task to fixed numbers of rows and classes, so that tasks of different sizes share one compiled step.

    What stands in the padding is a copy of a real row, and never matters.

    Args:
      episode: the task; its labels are ``0, ..., ways of the task - 1``.
      support: rows of the padded support.
      query: rows of the padded query.
      ways: classes of the padded task; None for tasks without classes. The real classes are the labels that occur in the support;
        under jit, a query row of another class is masked.

    Raises:
      ValueError: if it is a batch of tasks, a target size is smaller than the task or no whole number, or there are ``ways`` and
        the targets are no labels; outside jit also if a label is negative or too large, or that of a query has no support.
    """
    check_counts(support=support, query=query, ways=ways)
    check_one_task(episode)
    parts = {"support": (episode.support, support), "query": (episode.query, query)}
    longer = {name: _pad(name, *part) for name, part in parts.items()}
    padded = episode._replace(**longer)
    if ways is None:
        return padded
    for name, (batch, _) in parts.items():
        if not has_labels(batch):
            raise ValueError(f"ways={ways} needs {name}.y to hold one integer label per row; got {kinds(batch.y)}.")
        _check_labels(name, batch, ways)
    classes = members(padded.support, jnp.ones(ways, bool))
    classes = (classes & padded.support.real[:, None]).any(axis=0)
    known = members(padded.query, classes).any(axis=1)
    _check_known(episode.query, known)
    return padded._replace(query=padded.query._replace(mask=padded.query.real & known), classes=classes)


def _pad(name: str, batch: Batch, rows: int) -> Batch:
    real = count_rows(batch.x)
    if rows < real:
        raise ValueError(f"{name} must be at least the rows of the task; got {name}={rows} and {real} rows.")
    first = 0 if batch.mask is None else batch.mask.argmax()

    def longer(leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return jnp.concatenate([leaf, jnp.broadcast_to(leaf[first][None], (rows - real, *leaf.shape[1:]))])

    longest = jax.tree.map(longer, batch)
    return longest._replace(mask=jnp.concatenate([batch.real, jnp.zeros(rows - real, bool)]))


def _check_labels(name: str, batch: Batch, ways: int) -> None:
    if isinstance(batch.y, Tracer) or isinstance(batch.mask, Tracer):
        return
    labels = np.asarray(batch.y) if batch.mask is None else np.asarray(batch.y)[np.asarray(batch.mask)]
    if wrong := [label for label in labels.tolist() if not 0 <= label < ways]:
        raise ValueError(f"{name}.y must hold labels 0, ..., ways - 1; got ways={ways} and label {wrong[0]}.")


def _check_known(query: Batch, known: jax.Array) -> None:
    if isinstance(known, Tracer):
        return
    labels, real = np.asarray(query.y), np.asarray(query.real)
    if wrong := labels[real & ~np.asarray(known)[: len(labels)]].tolist():
        raise ValueError(f"query.y must hold labels that occur in the support; got label {wrong[0]}, of which it has no example.")
