"""Samplers of what users bring: mini-batches of one set of examples, and episodes of a finite list of tasks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jmeta._options import check_counts
from jmeta._rows import count_rows
from jmeta._sentences import kinds
from jmeta._types import Batch, Episode, Sampler
from jmeta._validation import check_episode, check_numbers, check_rows, check_storable, check_weights, those_that_count
from jmeta.tasks._arrays import as_float, on_host
from jmeta.tasks._batching import pad_episode
from jmeta.tasks._drawing import draw_distinct


class Cells(NamedTuple):
    """Examples of several tasks, one after another, sorted by task and within a task by class.

    Attributes:
      examples: a ``Batch`` of all of them, leaves ``[total, ...]``.
      starts: ``[tasks, cells]``, where the examples of each class of each task begin; one cell for tasks without classes.
      counts: ``[tasks, cells]``, how many there are.
    """

    examples: Batch
    starts: jax.Array
    counts: jax.Array


def minibatches(x: Any, y: Any, size: int, *, weights: Any = None) -> Sampler:
    """Draws batches of examples, without replacement within a batch, for supervised and multi-task training.

    uint8 images stay so on the device and become floats in [0, 1] in the batch.

    >>> batches = minibatches(np.ones((100, 3)), {"age": np.ones((100, 1)), "species": np.zeros(100, int)}, 16)
    >>> batches.sample(batches.data, jax.random.key(0)).y["age"].shape
    (16, 1)

    Args:
      x: ``[n, ...]`` inputs, or a pytree of such arrays.
      y: ``[n, ...]`` targets, or a pytree of such arrays, by name for tasks that share their input; None where there are none.
      size: rows of a batch.
      weights: what each target counts, as in :class:`jmeta.Batch`; 0 where it is missing, whatever ``y`` holds there.

    Raises:
      ValueError: if shapes do not match, ``x`` or a target that counts is not finite, or ``size`` is no whole number between 1 and
        n.
    """
    targets, counts = (None if tree is None else on_host(name, tree) for name, tree in (("y", y), ("weights", weights)))
    batch = Batch(on_host("x", x), targets, None, counts)
    check_rows("data", batch)
    check_counts(size=size)
    rows = count_rows(batch.x)
    if size > rows:
        raise ValueError(f"size must be at most the number of examples; got size={size} and {rows} examples.")
    check_storable("x", batch.x)
    check_weights("weights", batch.weights)
    check_storable("y", those_that_count(batch.y, batch.weights))

    def sample(data: Batch, key: jax.Array) -> Batch:
        drawn = draw_distinct(key, rows, size)
        return as_floats(jax.tree.map(lambda leaf: leaf[drawn], data))

    return Sampler(jax.tree.map(jnp.asarray, batch), sample)


def episodes_from(
    tasks: Sequence[Batch | Episode] | Batch,
    *,
    groups: ArrayLike | None = None,
    shots: int | None = None,
    queries: int | None = None,
    ways: int | None = None,
) -> Sampler:
    """Draws episodes of a finite list of tasks of different sizes; ``evaluate`` takes each of them once.

    A task's support is ``shots`` of its examples, drawn at random, its query ``queries`` of the others, fewer and masked where it
    has no more. With ``ways`` both are drawn for each of its classes.

    >>> table = Batch(np.arange(12.0)[:, None], np.arange(12.0)[:, None])
    >>> tasks = episodes_from(table, groups=[0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], shots=2, queries=3)
    >>> tasks.size, tasks.sample(tasks.data, jax.random.key(0)).query.x.shape
    (3, (3, 1))

    Args:
      tasks: the examples of each task, a ``Batch`` without a mask; or episodes that are split already; or, with ``groups``, one
        ``Batch`` of the examples of all tasks.
      groups: ``[n]``, which task each row belongs to: any integers or strings.
      shots: support examples of a task, of each class where there are ``ways``; not for episodes.
      queries: likewise for the query; all that are left by default.
      ways: the most classes of a task, where targets are labels ``0, ..., ways - 1`` of the task; episodes then have ``classes``.

    Raises:
      ValueError: if there is no task, tasks differ in more than their rows, a task or class has too few examples, or counts are no
        whole numbers of at least 1.
    """
    check_counts(shots=shots, queries=queries, ways=ways)
    if isinstance(tasks, Batch) != (groups is not None):
        raise ValueError("groups must be given with one Batch of all tasks, and not with a list of tasks.")
    split = [] if isinstance(tasks, Batch) else [task for task in tasks if isinstance(task, Episode)]
    if split:
        if shots is not None or queries is not None or len(split) < len(tasks):
            raise ValueError("shots and queries must be None for episodes, which are split already, and all tasks be episodes.")
        return _of_episodes(split, ways)
    if shots is None:
        raise ValueError("shots must be given, the support examples of a task; got None.")
    cells, most = _cells(_listed(tasks, groups), ways)
    largest = int(cells.counts.max())
    queries = largest - shots if queries is None else queries
    few = (cells.counts > 0) & (cells.counts <= shots)
    if few.any():
        task, cell = map(int, np.argwhere(np.asarray(few))[0])
        of_class = "" if ways is None else f" of class {cell}"
        found = f"task {task} with {cells.counts[task, cell]} examples{of_class}"
        raise ValueError(f"shots must leave each task a query; got shots={shots} and {found}.")
    masked = bool((np.asarray(cells.counts) < shots + queries).any())

    def at(data: Cells, index: jax.Array, key: jax.Array) -> Episode:
        counts, starts = data.counts[index], data.starts[index]
        ranks = jax.random.uniform(key, (len(counts), most))
        ranks = jnp.where(jnp.arange(most)[None] < counts[:, None], ranks, -1)
        _, order = jax.lax.top_k(ranks, min(shots + queries, most))
        real = jnp.arange(order.shape[1])[None] < counts[:, None]
        rows = starts[:, None] + jnp.where(real, order, 0)

        def part(start: int, stop: int) -> Batch:
            chosen = rows[:, start:stop].reshape(-1)
            found = as_floats(jax.tree.map(lambda leaf: leaf[chosen], data.examples))
            return found._replace(mask=real[:, start:stop].reshape(-1)) if masked else found

        classes = None if ways is None else counts > 0
        return Episode(part(0, shots), part(shots, shots + queries), classes, index)

    return _finite(cells, len(cells.counts), at)


def _finite(data: Any, size: int, at: Any) -> Sampler:
    def sample(data: Any, key: jax.Array) -> Episode:
        index_key, task_key = jax.random.split(key)
        return at(data, jax.random.randint(index_key, (), 0, size), task_key)

    return Sampler(data, sample, size, at)


def _of_episodes(tasks: Sequence[Episode], ways: int | None) -> Sampler:
    for task in tasks:
        check_episode(task)
    most = {name: max(count_rows(getattr(task, name).x) for task in tasks) for name in ("support", "query")}
    padded = [pad_episode(task, **most, ways=ways)._replace(task=None) for task in tasks]
    stacked = _stacked(padded)
    if all(np.asarray(batch.mask).all() for batch in (stacked.support, stacked.query)):
        parts = {"support": stacked.support._replace(mask=None), "query": stacked.query._replace(mask=None)}
        stacked = stacked._replace(**parts)

    def at(data: Episode, index: jax.Array, key: jax.Array) -> Episode:
        del key
        support, query, classes, _ = jax.tree.map(lambda leaf: leaf[index], data)
        return Episode(as_floats(support), as_floats(query), classes, index)

    return _finite(stacked, len(tasks), at)


def as_floats(batch: Batch) -> Batch:
    return batch._replace(x=jax.tree.map(as_float, batch.x))


def _listed(tasks: Sequence[Any] | Batch, groups: ArrayLike | None) -> list[Batch]:
    """Gives the examples of each task, on the host."""
    if isinstance(tasks, Batch):
        check_part("tasks", tasks)
        column, rows = _column(groups), count_rows(tasks.x)
        if column.shape != (rows,):
            raise ValueError(f"groups must be [n] with one entry per row; got {column.shape} for {rows} rows.")
        order = np.argsort(column, kind="stable")
        edges = np.flatnonzero(column[order][1:] != column[order][:-1]) + 1
        return [jax.tree.map(lambda leaf, part=part: np.asarray(leaf)[part], tasks) for part in np.split(order, edges)]
    found = list(tasks)
    if not found:
        raise ValueError("tasks must hold at least one task; got none.")
    for number, task in enumerate(found):
        check_part(f"tasks[{number}]", task)
    return [jax.tree.map(np.asarray, task) for task in found]


def _column(groups: Any) -> np.ndarray:
    column = np.asarray(groups)
    if column.dtype == object and all(isinstance(group, str) for group in column.flat):
        column = column.astype(str)
    # NaN is no group, and would be one for each row.
    if column.dtype.kind not in "iubU":
        raise ValueError(f"groups must hold integers or strings; got dtype {column.dtype}.")
    return column


def check_part(name: str, task: Any) -> None:
    if not isinstance(task, Batch):
        raise ValueError(f"{name} must be a Batch(x, y); got {type(task).__name__}.")
    check_numbers(f"{name}.x", task.x)
    check_rows(name, task)
    if task.mask is not None:
        raise ValueError(f"{name} must hold real rows alone, without a mask; a target that is missing has weight 0.")
    check_storable(f"{name}.x", task.x)
    check_weights(f"{name}.weights", task.weights)
    check_storable(f"{name}.y", those_that_count(task.y, task.weights))


def _cells(tasks: list[Batch], ways: int | None) -> tuple[Cells, int]:
    """Lays the examples of all tasks one after another, and gives the most that a cell holds."""
    counts = np.array([_counts(number, task, ways) for number, task in enumerate(tasks)])
    tasks = tasks if ways is None else list(map(_by_class, tasks))
    starts = np.concatenate([[0], counts.ravel().cumsum()[:-1]]).reshape(counts.shape)
    examples = _joined(tasks)
    return Cells(examples, jnp.asarray(starts), jnp.asarray(counts)), int(counts.max())


def _counts(number: int, task: Batch, ways: int | None) -> np.ndarray:
    if ways is None:
        return np.array([count_rows(task.x)])
    labels = task.y
    if getattr(labels, "ndim", 0) != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"tasks[{number}].y must hold one integer label per row where there are ways; got {kinds(labels)}.")
    if wrong := labels[(labels < 0) | (labels >= ways)].tolist():
        raise ValueError(f"tasks[{number}].y must hold labels 0, ..., {ways - 1}; got label {wrong[0]}.")
    return np.bincount(labels, minlength=ways)


def _by_class(task: Batch) -> Batch:
    order = np.argsort(task.y, kind="stable")
    return jax.tree.map(lambda leaf: leaf[order], task)


def _joined(tasks: Sequence[Batch]) -> Any:
    return together(tasks, lambda *leaves: jnp.asarray(np.concatenate(leaves)))


def _stacked(tasks: Sequence[Episode]) -> Any:
    return together(tasks, lambda *leaves: jnp.stack(leaves))


def together(tasks: Sequence[Any], join: Any) -> Any:
    structures = {str(jax.tree.structure(task)) for task in tasks}
    rows = {str([leaf.shape[1:] for leaf in jax.tree.leaves(task)]) for task in tasks}
    if len(structures) > 1 or len(rows) > 1:
        several = sorted(structures if len(structures) > 1 else rows)
        raise ValueError(f"tasks must differ in their number of rows alone; got {several[0]} and {several[1]}.")
    return jax.tree.map(join, *tasks)
