"""What ways of merging share: models side by side, and the ways that they have gone from a common start."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._paths import path_of
from jmeta._sentences import kinds
from jmeta._types import Params


def side_by_side(models: Sequence[Params], *, name: str = "models", like: Params | None = None) -> Params:
    """Stacks models, leaves ``[models, ...]``, in float32 at least.

    Raises:
      ValueError: if there is no model, or one has another structure or other shapes than the first, or than ``like``.
    """
    if isinstance(models, str | bytes) or not isinstance(models, Sequence) or hasattr(models, "_fields") or not models:
        raise ValueError(f"{name} must be a sequence of at least one parameter tree; got {type(models).__name__}.")
    wanted, of_wanted = (models[0], f"{name}[0]") if like is None else (like, "base")
    for at, model in enumerate(models):
        if why := _difference(model, wanted):
            raise ValueError(f"{name} must have the structure and shapes of {of_wanted}; got {name}[{at}] with {why}.")
    return jax.tree.map(lambda *leaves: jnp.stack([_wide(leaf) for leaf in leaves]), *models)


def ways_from(base: Params, models: Sequence[Params]) -> Params:
    """Gives the task vectors: what each model is more than the base, leaves ``[models, ...]``."""
    return jax.tree.map(lambda many, one: many - _wide(one)[None], side_by_side(models, like=base), base)


def go(base: Params, way: Params, scale: Any = 1.0) -> Params:
    """Adds a way to the base, each leaf in the base's type."""
    return jax.tree.map(lambda leaf, more: (_wide(leaf) + scale * more).astype(jnp.result_type(leaf)), base, way)


def typed_like(like: Params, merged: Params) -> Params:
    """Gives each leaf the type of that of another tree."""
    return jax.tree.map(lambda leaf, more: more.astype(jnp.result_type(leaf)), like, merged)


def per_model(name: str, values: Any, count: int, *, default: float = 1.0) -> jax.Array:
    """Gives a number for each model, ``[models]``.

    Raises:
      ValueError: if there is another number of them, one is negative or not finite, or all are 0.
    """
    found = np.full(count, default) if values is None else np.asarray(values, float)
    if found.shape != (count,) or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError(f"{name} must be one number of at least 0 for each of {count} models, not all 0; got {values}.")
    return jnp.asarray(found)


def along(weights: jax.Array, leaf: jax.Array) -> jax.Array:
    """Gives ``[models]`` the rank of a leaf ``[models, ...]``, and its type."""
    return weights.reshape(-1, *[1] * (leaf.ndim - 1)).astype(leaf.dtype)


def _wide(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _difference(model: Params, wanted: Params) -> str:
    if jax.tree.structure(model) == jax.tree.structure(wanted):
        pairs = zip(jax.tree_util.tree_leaves_with_path(model), jax.tree.leaves(wanted), strict=True)
        other = [(path, one, two) for (path, one), two in pairs if jnp.shape(one) != jnp.shape(two)]
        return f"{kinds(other[0][1])} at {path_of(other[0][0])} in the place of {kinds(other[0][2])}" if other else ""
    ours, theirs = ({path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)} for tree in (model, wanted))
    differing = sorted(ours ^ theirs)
    return f"or without {', '.join(differing[:4])}" if differing else f"the structure of a {type(model).__name__}"
