"""What sentences say of arrays and of errors."""

from typing import Any

import jax
import numpy as np


def kinds(tree: Any) -> str:
    """Writes the types and shapes of a tree's arrays: ``float32[3, 1]``."""
    found = ", ".join(f"{getattr(leaf, 'dtype', type(leaf).__name__)}{[*np.shape(leaf)]}" for leaf in jax.tree.leaves(tree))
    return found or "nothing"


def first_line(error: Exception) -> str:
    """Gives what an error says, without what jax adds below it."""
    return str(error).partition("\n")[0]


def shapes(tree: Any) -> Any:
    """Gives the shapes of a tree's arrays, of a single one without a list."""
    found = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    return found[0] if len(found) == 1 else found
