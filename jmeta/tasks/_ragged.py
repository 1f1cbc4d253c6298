"""Tasks with inputs of their own and different numbers of examples, in arrays of one shape."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._options import check_counts
from jmeta._rows import count_rows
from jmeta._types import Batch, Sampler
from jmeta.tasks._groups import as_floats, check_part, together


def stack_tasks(tasks: Mapping[str, Batch]) -> Batch:
    """Stacks tasks of different sizes in the order of their names, leaves ``[tasks, rows, ...]``.

    Smaller tasks are padded to the rows of the largest, and masked. So one program does for all of them, under ``vmap`` or
    :func:`jmeta.over_tasks`.

    >>> tasks = {"a": Batch(np.ones((3, 2)), np.ones((3, 1))), "b": Batch(np.ones((1, 2)), np.ones((1, 1)))}
    >>> stack_tasks(tasks).mask.tolist()
    [[True, True, True], [True, False, False]]

    Args:
      tasks: by name, without masks.

    Raises:
      ValueError: if there is none, or tasks differ in more than their rows.
    """
    if not tasks:
        raise ValueError("tasks must name at least one task; got an empty mapping.")
    for name in tasks:
        check_part(f"tasks[{name!r}]", tasks[name])
    counts = np.array([count_rows(tasks[name].x) for name in sorted(tasks)])
    real = np.arange(counts.max())[None] < counts[:, None]
    # A copy of the first row stands in the padding.
    padded = [
        jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], tasks[name])
        for name, rows in zip(sorted(tasks), np.where(real, np.arange(counts.max()), 0), strict=True)
    ]
    stacked = together(padded, lambda *leaves: jnp.asarray(np.stack(leaves)))
    return stacked if real.all() else stacked._replace(mask=jnp.asarray(real))


def task_minibatches(tasks: Mapping[str, Batch], size: int | None = None) -> Sampler:
    """Draws examples of every task at once, ``{name: Batch}``, without replacement within a batch.

    That is one gather, where :func:`jmeta.tasks.combine` of as many samplers is one for each. ``data`` is :func:`stack_tasks`.

    Args:
      tasks: by name, without masks.
      size: rows of a task in a batch; a smaller task is padded, and masked. All rows, in their order, by default.

    Raises:
      ValueError: as :func:`stack_tasks`, or if ``size`` is no whole number between 1 and the rows of the largest task.
    """
    stacked, names = stack_tasks(tasks), sorted(tasks)
    count, most = jax.tree.leaves(stacked.x)[0].shape[:2]
    check_counts(size=size)
    if size is not None and size > most:
        raise ValueError(f"size must be at most the rows of the largest task; got size={size} and {most} rows.")
    full = size is not None and size <= min(count_rows(task.x) for task in tasks.values())

    def sample(data: Batch, key: jax.Array) -> dict[str, Batch]:
        drawn = data
        if size is not None:
            ranks = jax.random.uniform(key, (count, most))
            ranks = ranks if data.mask is None else jnp.where(data.mask, ranks, -1)
            chosen = jax.lax.top_k(ranks, size)[1]
            drawn = jax.tree.map(lambda leaf: leaf[jnp.arange(count)[:, None], chosen], data)
        leaves, structure = jax.tree.flatten(as_floats(drawn._replace(mask=None) if full else drawn))
        return {name: structure.unflatten(task) for name, *task in zip(names, *map(jnp.unstack, leaves), strict=True)}

    return Sampler(stacked, sample)
