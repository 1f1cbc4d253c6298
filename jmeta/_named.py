"""Tasks by number or by name, and the options that belong to one of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._types import Tasks


def count_of(tasks: Tasks) -> int:
    """Counts tasks that are given by their number or by their names.

    Raises:
      ValueError: if there are none, or two of one name.
    """
    count = tasks if isinstance(tasks, int) else len(names_of(tasks))
    if count < 1:
        raise ValueError(f"tasks must be at least one, or their names; got {tasks!r}.")
    return count


def names_of(tasks: Tasks) -> list[str]:
    """Gives the names in the order of the losses, which is alphabetical; none where tasks have only a number."""
    if isinstance(tasks, int):
        return []
    if isinstance(tasks, str) or len(set(tasks)) != len(tasks):
        raise ValueError(f"tasks must be their number or different names; got {tasks!r}.")
    return sorted(tasks)


def per_task(name: str, option: Any, tasks: Tasks, default: Any) -> np.ndarray:
    """Gives the value of an option for each task, ``[tasks]``.

    Args:
      name: what to call the option in an error.
      option: None, one value for all, a value per task in the order of the losses, or values by the names of tasks.
      tasks: their number or names.
      default: the value where none is given.

    Raises:
      ValueError: for a name that no task has, names of tasks without any, or another number of values.

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
    return np.broadcast_to(values, (count,))


def check_state(init: Callable[[Tasks], Any], state: Any, tasks: int) -> None:
    """Checks that a state was made for as many tasks as there are.

    Raises:
      ValueError: if it was not.
    """
    try:
        wanted = jax.eval_shape(lambda: init(tasks))
    except ValueError:
        return  # It has options by name, and was given as many names as there are tasks.
    check_alike(state, wanted, f"init_state must be given tasks={tasks}, one for each loss")


def check_alike(got: Any, wanted: Any, sentence: str) -> None:
    """Checks that two trees have the same structure, shapes and types.

    Raises:
      ValueError: with the sentence, if they have not.
    """
    kinds = [[(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (got, wanted)]
    if jax.tree.structure(got) != jax.tree.structure(wanted) or kinds[0] != kinds[1]:
        raise ValueError(f"{sentence}; got a state of shapes {[*map(jnp.shape, jax.tree.leaves(got))]}.")
