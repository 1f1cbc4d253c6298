"""Checkpoints that are either whole or named as damaged.

A checkpoint is one directory ``<step>`` with an orbax checkpoint and ``manifest.json``, the SHA-256 of every file in it: no common
format notices a flipped bit by itself. It is written beside its place and renamed into it.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

MANIFEST = "manifest.json"
KEPT = 2


def save(directory: str | Path, step: int, tree: Any) -> Path:
    """Writes a pytree as the checkpoint of ``step`` and removes all but the newest two.

    Args:
      directory: the folder of all checkpoints; made where absent.
      step: the count of training steps.
      tree: arrays, typed keys included.
    """
    from orbax.checkpoint import v1

    directory = Path(directory).absolute()
    final, partial = directory / str(step), directory / f".partial-{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    v1.save(str(partial / "tree"), _as_leaves(tree))
    with open(partial / MANIFEST, "w") as file:
        json.dump(_digests(partial), file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in steps(directory)[:-KEPT]:
        shutil.rmtree(directory / str(old))
    return final


def steps(directory: str | Path) -> list[int]:
    """Lists the steps that have a checkpoint, oldest first."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def restore(directory: str | Path, like: Any) -> tuple[int, Any]:
    """Reads the newest sound checkpoint.

    A damaged one is named in a warning and left out.

    Args:
      directory: the folder of all checkpoints.
      like: a pytree of the same structure, shapes and dtypes.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if none is sound, naming a damaged file; or if a sound one holds another structure.
    """
    from orbax.checkpoint import v1

    directory = Path(directory).absolute()
    if not (found := steps(directory)):
        raise FileNotFoundError(f"directory {directory} holds no checkpoint; expected folders named by their step.")
    damage = None
    for step in reversed(found):
        if damage := _damage(directory / str(step)):
            warnings.warn(f"checkpoint {step} is left out: {damage}", stacklevel=2)
            continue
        leaves = v1.load(str(directory / str(step) / "tree"), _as_leaves(like))
        return step, _from_leaves(leaves, like)
    raise ValueError(f"no checkpoint in {directory} is sound; the oldest: {damage}")


def _digests(checkpoint: Path) -> dict[str, str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(checkpoint)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _damage(checkpoint: Path) -> str | None:
    """Says in one sentence which file is not what was written, or None."""
    manifest = checkpoint / MANIFEST
    try:
        expected = json.loads(manifest.read_text())
    except (OSError, ValueError) as error:
        return f"file {manifest} cannot be read ({error})."
    found = _digests(checkpoint)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"file {checkpoint / name} is missing."
        if expected.get(name) != found[name]:
            return f"file {checkpoint / name} has SHA-256 {found[name]}, expected {expected.get(name)}."
    return None


def _as_leaves(tree: Any) -> dict[str, Any]:
    """Flattens a pytree into arrays by position; typed keys become their data."""
    leaves = jax.tree.leaves(tree)
    return {f"{index:05d}": _raw(leaf) for index, leaf in enumerate(leaves)}


def _raw(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _from_leaves(leaves: dict[str, Any], like: Any) -> Any:
    expected, structure = jax.tree.flatten(like)
    restored = [leaves[name] for name in sorted(leaves)]
    for old, new in zip(expected, restored, strict=True):
        if _raw(old).shape != new.shape or _raw(old).dtype != new.dtype:
            raise ValueError(
                f"the checkpoint holds another model; got an array {new.shape} {new.dtype}, expected "
                f"{_raw(old).shape} {_raw(old).dtype}."
            )
    wrapped = [
        jax.random.wrap_key_data(new, impl=jax.random.key_impl(old)) if _raw(old) is not old else new
        for old, new in zip(expected, restored, strict=True)
    ]
    return jax.tree.unflatten(structure, wrapped)
