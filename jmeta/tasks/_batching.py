"""From one episode to a step's worth of tasks, and from ragged tasks to one shape."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jmeta._types import Batch, Episode, Sampler


def batch_tasks(sampler: Sampler, tasks: int) -> Sampler:
    """Draws ``tasks`` independent tasks at once, leaves ``[tasks, ...]``.

    Raises:
      ValueError: if ``tasks`` is below 1.
    """
    if tasks < 1:
        raise ValueError(f"tasks must be at least 1; got {tasks}.")

    def sample(data: Any, key: jax.Array) -> Any:
        return jax.vmap(lambda key: sampler.sample(data, key))(jax.random.split(key, tasks))

    return Sampler(sampler.data, sample)


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

    Args:
      episode: the task; its labels are ``0, ..., ways of the task - 1``.
      support: rows of the padded support.
      query: rows of the padded query.
      ways: classes of the padded task; None for tasks without classes. The real classes are the labels that occur in the support.

    Raises:
      ValueError: if a target size is smaller than the task; for ``ways`` outside jit only.
    """
    classes = episode.classes
    if ways is not None:
        largest = jnp.max(episode.support.y, initial=-1, where=episode.support.mask)
        if not isinstance(largest, Tracer) and largest >= ways:
            raise ValueError(f"ways must exceed every label of the task; got ways={ways} and label {largest}.")
        labels = jnp.arange(ways)[:, None] == episode.support.y[None]
        if episode.support.mask is not None:
            labels = labels & episode.support.mask[None]
        classes = labels.any(axis=1)
    return Episode(_pad(episode.support, support, "support"), _pad(episode.query, query, "query"), classes)


def _pad(batch: Batch, rows: int, name: str) -> Batch:
    real = len(batch.y)
    if rows < real:
        raise ValueError(f"{name} must be at least the rows of the task; got {name}={rows} and {real} rows.")
    mask = jnp.ones(real, bool) if batch.mask is None else batch.mask
    return jax.tree.map(lambda leaf: jnp.pad(leaf, [(0, rows - real)] + [(0, 0)] * (leaf.ndim - 1)), batch._replace(mask=mask))
