"""Targets of one task that stand for those of another."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jmeta._rows import like
from jmeta._sentences import kinds
from jmeta._types import Batch
from jmeta._validation import check_rows


def share_targets(batch: Batch, maps: Mapping[str, tuple[str, Callable[[Any], Any]]]) -> Batch:
    """Fills the targets that a task lacks by those of another, of the same or of finer classes.

    A target of weight 0 takes the counterpart of the other task's, and its weight; so data that is labelled for one head trains the
    others too. It runs under jit, on the batches of a sampler, or once on a whole set.

    >>> import numpy as np
    >>> import jmeta
    >>> pets = jmeta.transfer.label_map([0, 0, 1])
    >>> batch = Batch(np.ones((2, 4)), {"breed": np.array([2, -1]), "pet": np.array([-1, 0])}, None,
    ...               {"breed": np.array([1.0, 0.0]), "pet": np.array([0.0, 1.0])})
    >>> shared = share_targets(batch, {"pet": ("breed", pets.coarse_labels)})
    >>> shared.y["pet"].tolist(), shared.weights["pet"].tolist()
    ([1, 0], [1.0, 1.0])

    Args:
      batch: ``Batch(x, {name: y}, mask, {name: weights})``, as joint losses take it.
      maps: by the name of the task that lacks targets, the name of the one that has them, and the function from these to those,
        such as ``LabelMap.coarse_labels``. A task that is not in the batch gets all of its targets so.

    Returns:
      The batch with what could be filled; each task is given what the others had before.

    Raises:
      ValueError: if the batch has no targets by name, a task to take from is none of them, a task has all targets already, or
        counterparts or weights are of another shape than what they are to fill.
    """
    if not isinstance(batch.y, Mapping) or not (batch.weights is None or isinstance(batch.weights, Mapping)):
        raise ValueError(f"batch must have targets and weights by name; got {type(batch.y).__name__}.")
    check_rows("batch", batch)
    if unknown := sorted({source for source, _ in maps.values()} - set(batch.y)):
        raise ValueError(f"maps must take targets of tasks among {sorted(batch.y)}; got {unknown}.")
    weights = {} if batch.weights is None else batch.weights
    targets, counts = dict(batch.y), dict(weights)
    for name, (source, function) in maps.items():
        found, given = function(batch.y[source]), weights.get(source)
        if name not in batch.y:
            targets[name], counts[name] = found, given
            continue
        if weights.get(name) is None:
            raise ValueError(f"maps must fill targets that a task lacks, of weight 0; got {name!r}, which has no weights.")
        own, mine = jnp.asarray(batch.y[name]), jnp.asarray(weights[name])
        given = jnp.ones_like(mine) if given is None else jnp.asarray(given, mine.dtype)
        if jnp.shape(found) != own.shape or given.shape != mine.shape:
            wanted, got = (f"{kinds(y)} with weights {kinds(weights)}" for y, weights in ((own, mine), (found, given)))
            raise ValueError(f"maps must make targets of {name!r}, {wanted}, of those of {source!r}; got {got}.")
        there = mine != 0
        targets[name] = jnp.where(like(there, own), own, jnp.asarray(found, own.dtype))
        counts[name] = jnp.where(there, mine, given)
    return batch._replace(y=targets, weights=None if batch.weights is None else counts)
