"""Tasks by number or by name, and the options that belong to one of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._types import Tasks


def count_of(tasks: Tasks) -> int:
    """Counts tasks that are given by their number or by their names.

    Raises:
      ValueError: if there are none, two of one name, or it is neither a whole number nor names.
    """
    names = names_of(tasks)
    count = len(names) if names else tasks
    if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
        raise ValueError(f"tasks must be a whole number of at least 1, or their names; got {tasks!r}.")
    return int(count)


def names_of(tasks: Tasks) -> list[str]:
    """Gives the names in the order of the losses, which is alphabetical; none where tasks have only a number."""
    if not isinstance(tasks, Iterable):
        return []
    names = [*tasks]
    if isinstance(tasks, str) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(f"tasks must be their number or different names; got {tasks!r}.")
    return sorted(names)


def per_task(name: str, option: Any, tasks: Tasks, default: Any) -> np.ndarray:
    """Gives the value of an option for each task, ``[tasks]``.

    Args:
      name: what to call the option in an error.
      option: None, one value for all, a value per task in the order of the losses, or values by the names of tasks.
      tasks: their number or names.
      default: the value where none is given.

    Raises:
      ValueError: for a name that no task has, names of tasks without any, another number of values, or values without names for
        names in another order.

    >>> per_task("weights", {"age": 2.0}, ["species", "age"], 1.0).tolist()
    [2.0, 1.0]
    """
    count, names = count_of(tasks), names_of(tasks)
    if isinstance(option, Mapping):
        if not names:
            raise ValueError(f"{name} is given by name, so the tasks need names; got {count} tasks without: pass tasks=[names].")
        if unknown := sorted(set(option) - set(names)):
            raise ValueError(f"{name} must name tasks among {names}; got {unknown}.")
        return np.array([option.get(task, default) for task in names])
    values = np.asarray(default if option is None else option)
    if values.ndim and values.shape != (count,):
        raise ValueError(f"{name} must have one entry per task; got {len(values)} for {count} tasks.")
    if values.ndim and names and isinstance(tasks, Iterable) and [*tasks] != names:
        raise ValueError(f"{name} must be given by name for tasks {[*tasks]}, because the order of their losses is {names}.")
    return np.broadcast_to(values, (count,))


def check_state(init: Callable[[Tasks], Any], state: Any, tasks: int) -> None:
    """Checks that a state was made for as many tasks as there are.

    Raises:
      ValueError: if it was not.
    """
    try:
        wanted = jax.eval_shape(lambda: init(tasks))
    except ValueError:
        # It has options by name, which are known no more: something in its state has an entry for each task.
        wanted = state if any(tasks in jnp.shape(leaf) for leaf in jax.tree.leaves(state)) else None
    check_alike(state, wanted, f"init_state must be given tasks={tasks}, one for each loss")


def check_alike(got: Any, wanted: Any, sentence: str) -> None:
    """Checks that two trees have the same structure, shapes and types.

    Raises:
      ValueError: with the sentence, if they have not.
    """
    kinds = [[(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (got, wanted)]
    if jax.tree.structure(got) != jax.tree.structure(wanted) or kinds[0] != kinds[1]:
        raise ValueError(f"{sentence}; got a state of shapes {[*map(jnp.shape, jax.tree.leaves(got))]}.")


def check_matrix(name: str, matrix: Any, names: Sequence[str]) -> np.ndarray:
    """Gives a copy ``[tasks, tasks]`` in float64 of a matrix between named tasks.

    Raises:
      ValueError: if it has not one row and one column per name, there is no name, or two are the same.
    """
    values = np.array(matrix, np.float64)
    if not names_of(names) or values.shape != (len(names), len(names)):
        raise ValueError(f"{name} must have one row and one column for each of {[*names]}; got shape {values.shape}.")
    return values
