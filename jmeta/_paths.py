"""Parts of a parameter tree, chosen by the paths of their leaves."""

from collections.abc import Callable
from typing import Any

import jax

# A function of paths such as "encoder/Dense_0/kernel", or a tree of values, each for all that lies below it.
ByPath = Callable[[str], Any] | Any
# Likewise a predicate, or a tree of booleans.
Select = Callable[[str], bool] | Any


def path_of(path: Any) -> str:
    """Writes the path of a leaf: ``encoder/Dense_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def values_by_path(tree: Any, choice: ByPath, *, name: str, what: str = "a function of paths") -> Any:
    """Gives each leaf its value.

    Args:
      tree: a pytree.
      choice: a function of paths, or a prefix tree of values.
      name: what to call ``choice`` in an error.
      what: what it may be besides a prefix.

    Raises:
      ValueError: if the prefix tree does not fit.
    """
    if callable(choice):
        return jax.tree_util.tree_map_with_path(lambda path, _: choice(path_of(path)), tree)
    try:
        return jax.tree.broadcast(choice, tree)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be {what} or a prefix of the tree: {error}") from error


def chosen(tree: Any, select: Select, *, name: str) -> Any:
    """Says for each leaf whether it is chosen.

    Args:
      tree: a pytree.
      select: a predicate on paths, or a prefix tree of booleans.
      name: what to call ``select`` in an error.

    Raises:
      ValueError: if nothing is chosen, which would be silent otherwise, or the prefix tree does not fit.
    """
    marks = jax.tree.map(bool, values_by_path(tree, select, name=name, what="a predicate on paths"))
    if not any(jax.tree.leaves(marks)):
        paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        shown = ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")
        raise ValueError(f"{name} must choose at least one leaf; got none of {shown or 'an empty tree'}.")
    return marks


def chosen_part(tree: Any, select: Select | None, *, name: str) -> Any:
    """Leaves of a tree that are not chosen become None; without ``select`` all are chosen."""
    return tree if select is None else partition(tree, chosen(tree, select, name=name))[0]


def partition(tree: Any, marks: Any) -> tuple[Any, Any]:
    """Parts a tree into the marked leaves and the rest, with None in the other's places.

    >>> partition({"a": 1, "b": 2}, {"a": True, "b": False})
    ({'a': 1, 'b': None}, {'a': None, 'b': 2})
    """
    marked = jax.tree.map(lambda leaf, mark: leaf if mark else None, tree, marks)
    return marked, jax.tree.map(lambda leaf, mark: None if mark else leaf, tree, marks)


def merge(one: Any, other: Any) -> Any:
    """Puts together what :func:`partition` parted."""
    return jax.tree.map(lambda one, other: other if one is None else one, one, other, is_leaf=lambda leaf: leaf is None)
