"""Tables of examples of several tasks: divided within each task, or by whole tasks."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from jmeta._options import check_counts
from jmeta._types import Batch
from jmeta.tasks._groups import episodes_from
from jmeta.tasks._ragged import task_minibatches
from jmeta.tasks._splits import Scale, Splits, check_share, divide, scale_of, standardised


class Table(NamedTuple):
    """Examples of several tasks.

    Attributes:
      x: ``[n, inputs]``.
      y: ``[n, targets]``.
      tasks: ``[n]``, the name of the task of each row.
      units: ``[n]``, whole numbers: rows of a task with the same one stay in one part.
    """

    x: np.ndarray
    y: np.ndarray
    tasks: np.ndarray
    units: np.ndarray


def divided_rows(table: Table, *, size: int | None, test: float, validation: float, seed: int) -> Splits:
    """Divides the rows of every task, standardised by what all tasks have to train on."""
    check_share("validation", validation)
    check_counts(0, seed=seed)
    random = np.random.default_rng(seed)
    part = np.zeros(len(table.x), int)
    for name in np.unique(table.tasks):
        rows = np.flatnonzero(table.tasks == name)
        for number, chosen in enumerate(divide(random, np.unique(table.units[rows]), test, validation)):
            part[rows[np.isin(table.units[rows], chosen)]] = number
    (train, held, tested), inputs, targets = _parts(table, part)
    return Splits(task_minibatches(train, size), held or None, tested, inputs, targets)


def divided_tasks(table: Table, *, shots: int, queries: int | None, test: float, validation: float, seed: int) -> Splits:
    """Divides the tasks, whose rows are standardised by those of the tasks to train on; each part draws episodes."""
    check_share("validation", validation)
    check_counts(0, seed=seed)
    part = np.zeros(len(table.x), int)
    for number, chosen in enumerate(divide(np.random.default_rng(seed), np.unique(table.tasks), test, validation)):
        part[np.isin(table.tasks, chosen)] = number
    parts, inputs, targets = _parts(table, part)
    train, held, tested = (
        episodes_from([tasks[name] for name in sorted(tasks)], shots=shots, queries=queries) if tasks else None for tasks in parts
    )
    if train is None:
        raise ValueError("the data must hold tasks to train on; got none.")
    return Splits(train, held, tested, inputs, targets)


def _parts(table: Table, part: np.ndarray) -> tuple[list[Mapping[str, Batch]], Scale, Scale]:
    inputs, targets = (scale_of(rows[part == 0]) for rows in (table.x, table.y))
    # Float64 as far as the standardisation, and what jax computes in from there on.
    dtype = jax.dtypes.canonicalize_dtype(float)
    x, y = standardised(table.x, inputs).astype(dtype), standardised(table.y, targets).astype(dtype)
    parts = []
    for number in range(3):
        rows_of = {name: np.flatnonzero((table.tasks == name) & (part == number)) for name in np.unique(table.tasks)}
        parts.append({str(name): Batch(x[rows], y[rows]) for name, rows in rows_of.items() if len(rows)})
    return parts, inputs, targets
