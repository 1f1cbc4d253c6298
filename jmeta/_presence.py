"""Tasks in which nothing counts: they are left out of every mean, and their metrics say nothing."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._rows import like, presence
from jmeta._types import PRESENT, Batch, Metrics


def with_presence(metrics: Metrics, batch: Batch) -> Metrics:
    """Adds to the metrics of a task whether anything in it counts, where that is not plain."""
    present = presence(batch)
    return metrics if present is None else metrics | {PRESENT: present}


def prefixed(name: str, metrics: Metrics) -> Metrics:
    """Names the metrics of one kind; those of an absent task are NaN, which stands for nothing."""
    present = metrics.get(PRESENT)
    return {
        f"{name}/{metric}": value if present is None else jnp.where(present, value, jnp.nan)
        for metric, value in metrics.items()
        if metric != PRESENT
    }


def mean_of_present(values: jax.Array, present: jax.Array | None) -> jax.Array:
    """Averages ``[tasks]`` values over the tasks that are present; 0 without any."""
    if present is None:
        return values.mean(axis=0)
    return jnp.where(like(present, values), values, 0).sum(axis=0) / jnp.maximum(present.sum(), 1)


def keep_absent(present: jax.Array, new: Any, old: Any) -> Any:
    """Takes what is new of the tasks ``[tasks]`` that are present, and what is old of the others; leaves ``[tasks, ...]``."""
    return jax.tree.map(lambda new, old: jnp.where(like(present, new), new, old), new, old)


def sum_metrics(metrics: Metrics) -> tuple[Metrics, jax.Array | None]:
    """Adds up the metrics ``[tasks]`` of the tasks that are present, and counts these; None where it is plain that all are."""
    present = metrics.get(PRESENT)
    known = {name: values for name, values in metrics.items() if name != PRESENT}
    if present is None:
        return jax.tree.map(lambda values: values.sum(axis=0), known), None
    return jax.tree.map(lambda values: jnp.where(like(present, values), values, 0).sum(axis=0), known), present.sum()


def mean_metrics(metrics: Metrics) -> Metrics:
    """Averages the metrics ``[tasks]`` of the tasks that are present, and says whether any is."""
    present = metrics.get(PRESENT)
    means = {name: mean_of_present(values, present) for name, values in metrics.items() if name != PRESENT}
    return means if present is None else means | {PRESENT: present.any()}


def all_present(present: Sequence[tuple[jax.Array | None, int]]) -> Metrics:
    """Says of each task of several kinds whether it is present, ``[tasks]``, where that is not plain."""
    if all(known is None for known, _ in present):
        return {}
    each = [jnp.ones(tasks, bool) if known is None else known.reshape(tasks) for known, tasks in present]
    return {PRESENT: jnp.concatenate(each)}


def any_present(present: Sequence[jax.Array | None]) -> Metrics:
    """Says whether one of several kinds of task is present, where that is not plain."""
    known = [value for value in present if value is not None]
    return {PRESENT: jnp.stack(known).any()} if len(known) == len(present) else {}
