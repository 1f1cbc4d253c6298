"""Parameters of one network that fit another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._paths import path_of
from jmeta._sentences import kinds
from jmeta._types import Params


class Copied(NamedTuple):
    """What :func:`copy_matching` did.

    Attributes:
      copied: the paths of the target's leaves that were taken over.
      skipped: the paths of those that were not, and why.
      unused: the paths of the source's leaves that no leaf of the target took.
    """

    copied: tuple[str, ...]
    skipped: dict[str, str]
    unused: tuple[str, ...]


def copy_matching(source: Params, target: Params, *, rename: Callable[[str], str] | None = None) -> tuple[Params, Copied]:
    """Takes over every leaf of a pretrained network that has the path and the shape of one of the target.

    The trees may be of different kinds, such as a dict and an ``EncoderHead``; leaves are cast to the target's type.

    >>> source = {"encoder": jnp.ones(2), "head": jnp.ones(5)}
    >>> params, report = copy_matching(source, {"encoder": jnp.zeros(2), "head": jnp.zeros(3)})
    >>> params["encoder"].tolist(), report.skipped
    ([1.0, 1.0], {'head': 'the source has float32[5], the target float32[3]'})

    Args:
      source: the pretrained parameters.
      target: fresh ones, such as those of another head.
      rename: makes a path of the target, such as ``"encoder/Dense_0/kernel"``, of one of the source.

    Returns:
      The target's parameters with what was copied, and what was copied, what not and why.

    Raises:
      ValueError: if nothing matches, which would be silent otherwise, or two leaves of the source are renamed to one path.
    """
    known: dict[str, tuple[str, Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(source):
        old = path_of(path)
        new = old if rename is None else rename(old)
        if new in known:
            raise ValueError(f"rename must give each leaf a path of its own; got {new} for {known[new][0]} and {old}.")
        known[new] = old, leaf
    copied, skipped = [], {}

    def taken(path: Any, leaf: Any) -> Any:
        name = path_of(path)
        if why := _difference(known, name, leaf):
            skipped[name] = why
            return leaf
        copied.append(name)
        return jnp.array(known[name][1], jnp.result_type(leaf))

    params = jax.tree_util.tree_map_with_path(taken, target)
    if not copied:
        got = f"{_shown(known)} against {_shown(skipped)}"
        raise ValueError(f"source must hold a leaf of the path and shape of one of the target; got none: {got}.")
    taken_from = set(copied)
    return params, Copied(tuple(copied), skipped, tuple(old for new, (old, _) in known.items() if new not in taken_from))


def _difference(known: dict[str, tuple[str, Any]], name: str, leaf: Any) -> str:
    if name not in known:
        return "the source has no such path"
    other = known[name][1]
    alike = _is_floating(other) == _is_floating(leaf) and np.shape(other) == np.shape(leaf)
    return "" if alike else f"the source has {kinds(other)}, the target {kinds(leaf)}"


def _is_floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def _shown(paths: Any) -> str:
    names = [*paths]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "nothing"
