"""Numbers for the leaves of a parameter tree, by their paths."""

from collections.abc import Callable
from typing import Any

import jax

from jmeta._paths import path_of

# A function of paths such as "encoder/Dense_0/kernel", or a tree of numbers, each for all that lies below it.
ByPath = Callable[[str], Any] | Any


def values_by_path(tree: Any, choice: ByPath, *, name: str) -> Any:
    """Gives each leaf its number.

    Raises:
      ValueError: if a prefix tree does not fit.
    """
    if callable(choice):
        return jax.tree_util.tree_map_with_path(lambda path, _: choice(path_of(path)), tree)
    try:
        return jax.tree.map(lambda value, below: jax.tree.map(lambda _: value, below), choice, tree)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a function of paths or a prefix of the tree: {error}") from error
