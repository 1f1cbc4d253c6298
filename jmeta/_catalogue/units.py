"""From examples to tasks: which classes or groups are trained, validated and tested on, and the episodes of each."""

import numpy as np

from jmeta._catalogue.npz import SPLITS, Table, fault
from jmeta._types import Batch, Sampler
from jmeta.tasks._arrays import from_arrays
from jmeta.tasks._groups import episodes_from

# A mean over one task has no interval, and one class nothing to tell apart.
FEWEST = 2
# Of the classes or groups, for validation and for testing each.
SHARE = 0.2


def divide(path: str, table: Table, seed: int) -> np.ndarray:
    """Says which of ``SPLITS`` each unit belongs to, ``[units]``: what the file says, else one fifth each is held out by lot.

    Raises:
      ValueError: if a split has too few units.
    """
    split, array = table.split, "split"
    if split is None:
        array = "groups" if table.grouped else "y"
        held_out = max(FEWEST, round(SHARE * len(table.units)))
        order = np.random.default_rng(seed).permutation(len(table.units))
        split = np.full(len(table.units), "train", dtype="U10")
        split[order[:held_out]], split[order[held_out : 2 * held_out]] = "test", "validation"
    for name in SPLITS:
        if (count := int((split == name).sum())) < FEWEST:
            words = "groups" if table.grouped else "classes"
            raise fault(path, array, f"{len(split)} {words}, of them {count} for {name}", f"at least {FEWEST} for each split")
    return split


def episodes_of_units(path: str, table: Table, chosen: np.ndarray, *, ways: int | None, shots: int, queries: int | None) -> Sampler:
    """Draws episodes of some units: of classes, or of one group each, which is then a finite list.

    Args:
      path: what to call the file in an error.
      table: the examples.
      chosen: ``[units]`` booleans.
      ways: classes of an episode, where units are classes.
      shots: support rows, of each class where there are classes.
      queries: likewise for the query; None takes all that are left in a group.

    Raises:
      ValueError: if there are too few classes or rows, naming the class or group.
    """
    rows = chosen[table.unit]
    x, y, unit = table.x[rows], table.y[rows], table.unit[rows]
    if table.grouped:
        labels = None if table.labels is None else len(table.labels)
        _check_rows(path, table, rows, shots + 1, f"{shots} shots and a query")
        return episodes_from(Batch(x, y), groups=unit, shots=shots, queries=queries, ways=labels)
    if ways is None or queries is None:
        raise ValueError(f"ways and queries must be given where {path} has no groups; got {ways} and {queries}.")
    if (count := int(chosen.sum())) < ways:
        raise ValueError(f"ways must be at most the {count} classes of a split of {path}; got {ways}.")
    _check_rows(path, table, rows, shots + queries, f"{shots} shots and {queries} queries")
    return from_arrays(x, unit, ways=ways, shots=shots, queries=queries)


def _check_rows(path: str, table: Table, rows: np.ndarray, least: int, needed: str) -> None:
    """Checks that each class, each group, or each label in a group has enough rows."""
    cells = table.unit[rows][:, None]
    if table.grouped and table.labels is not None:
        cells = np.stack([table.unit[rows], table.y[rows]], axis=1)
    found, counts = np.unique(cells, axis=0, return_counts=True)
    if (worst := int(counts.min())) >= least:
        return
    unit, *label = found[counts.argmin()].tolist()
    what = f"{'group' if table.grouped else 'class'} {table.units[unit]}"
    if table.labels is not None and label:
        what = f"label {table.labels[label[0]]} in {what}"
    raise fault(path, "groups" if table.grouped else "y", f"{worst} rows of {what}", f"at least {least}, for {needed}")
