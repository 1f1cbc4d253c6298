"""Checkpoints that are either whole or named as damaged.

A checkpoint is one directory ``<step>``: an orbax checkpoint of the leaves, ``structure.json`` with the path, dtype and shape of
each, and ``manifest.json`` with the step and the SHA-256 of every other file, because no common format notices a flipped bit by
itself. It is written beside its place and renamed into it.
"""

import hashlib
import json
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MANIFEST = "manifest.json"
STRUCTURE = "structure.json"
LEAVES = "leaves"
PARTIAL = ".partial-"
KEPT = 2

Leaf = tuple[str, str, tuple[int, ...]]  # The path, the dtype and the shape of an array.


class Saved(NamedTuple):
    """A checkpoint that is whole.

    Attributes:
      step: the count of training steps.
      place: its folder.
      leaves: the path, dtype and shape of each array that it holds.
    """

    step: int
    place: Path
    leaves: tuple[Leaf, ...]


def save(directory: str | Path, step: int, tree: Any) -> Path:
    """Writes a pytree as the checkpoint of ``step`` and removes all but the newest two.

    Args:
      directory: the folder of all checkpoints; made where absent.
      step: the count of training steps.
      tree: arrays, typed keys included.
    """
    directory = Path(directory).absolute()
    final, partial = directory / str(step), directory / f"{PARTIAL}{step}"
    for left_behind in directory.glob(f"{PARTIAL}*"):
        shutil.rmtree(left_behind)
    partial.mkdir(parents=True)
    _write_leaves(partial, tree)
    _write_json(partial / STRUCTURE, _structure(tree))
    _write_json(partial / MANIFEST, {"step": step, "files": _digests(partial)})
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in steps(directory)[:-KEPT]:
        shutil.rmtree(directory / str(old))
    return final


def steps(directory: str | Path) -> list[int]:
    """Lists the steps that have a checkpoint, sound or not, oldest first."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal())


def restore(directory: str | Path, like: Any, *, part: str = "") -> tuple[int, Any]:
    """Reads the newest sound checkpoint, or a part of it.

    A damaged one is named in a warning and left out.

    Args:
      directory: the folder of all checkpoints.
      like: a pytree of the same structure, shapes and dtypes.
      part: the path at which ``like`` stands in what was saved, as ``jax.tree_util.keystr`` writes it: ``".state.params"`` for the
        last parameters of what :func:`jmeta.fit` saves, a ``Fitted``.

    Returns:
      The step and the pytree.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if none is sound, naming a damaged file; or if the newest sound one holds another structure, naming a leaf.
    """
    saved = newest(directory)
    return saved.step, read(saved, like, part=part)


def newest(directory: str | Path) -> Saved:
    """Finds the newest sound checkpoint; a damaged one is named in a warning and left out.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if none is sound, naming a damaged file.
    """
    directory = Path(directory).absolute()
    if not (found := steps(directory)):
        raise FileNotFoundError(f"directory {directory} holds no checkpoint; expected folders named by their step.")
    damage = None
    for step in reversed(found):
        checkpoint = directory / str(step)
        if not (damage := _damage(checkpoint, step)):
            written = json.loads((checkpoint / STRUCTURE).read_text())
            return Saved(step, checkpoint, tuple((path, dtype, tuple(shape)) for path, dtype, shape in written))
        warnings.warn(f"checkpoint {step} is left out: {damage}", stacklevel=3)
    raise ValueError(f"no checkpoint in {directory} is sound; the oldest: {damage}")


def read(saved: Saved, like: Any, *, part: str = "") -> Any:
    """Reads a checkpoint, or a part of it, as :func:`restore` does.

    Raises:
      ValueError: if it holds another structure, naming a leaf.
    """
    at = [index for index, (path, *_) in enumerate(saved.leaves) if path.startswith(part)]
    expected = [(part + path, dtype, shape) for path, dtype, shape in _structure(like)]
    _check_structure([saved.leaves[index] for index in at], expected, saved.place)
    there = [_position(index) for index, (_, _, shape) in enumerate(saved.leaves) if math.prod(shape)]
    return _read_leaves(saved.place, like, at, there)


def _damage(checkpoint: Path, step: int) -> str | None:
    """Says in one sentence what is not as it was written, or None."""
    manifest = checkpoint / MANIFEST
    try:
        written = json.loads(manifest.read_text())
        of_step, expected = written["step"], dict(written["files"])
        found = _digests(checkpoint)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"file {manifest} or one beside it cannot be read ({error!r})."
    if of_step != step:
        return f"file {manifest} is of step {of_step}, expected {step}."
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            got, wanted = found.get(name, "missing"), expected.get(name, "none")
            return f"file {checkpoint / name} is not as it was written; got SHA-256 {got}, expected {wanted}."
    return None


def _digests(checkpoint: Path) -> dict[str, str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path != checkpoint / MANIFEST)
    return {path.relative_to(checkpoint).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _structure(tree: Any) -> list[Leaf]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), str(_array(leaf).dtype), tuple(np.shape(leaf))) for path, leaf in leaves]


def _check_structure(got: list[Leaf], expected: list[Leaf], checkpoint: Path) -> None:
    # Orbax by itself would cast to the dtype that is asked for.
    if got != expected:
        here, there = ([leaf for leaf in leaves if leaf not in others][:1] for leaves, others in ((got, expected), (expected, got)))
        hint = " What fit saves is a Fitted(state, best); jmeta.load_params reads its parameters alone." if _of_fit(got) else ""
        raise ValueError(
            f"checkpoint {checkpoint} must hold what is to be restored: the same model, optimiser, seeds and validation; got "
            f"{len(got)} arrays with {_name(here)}, expected {len(expected)} with {_name(there)}.{hint}"
        )


def _of_fit(leaves: list[Leaf]) -> bool:
    return bool(leaves) and all(path.startswith((".state", ".best")) for path, *_ in leaves)


def _name(leaves: list[Leaf]) -> str:
    return " and ".join(f"{path} {dtype}{list(shape)}" for path, dtype, shape in leaves) or "nothing else"


def _write_leaves(checkpoint: Path, tree: Any) -> None:
    from orbax.checkpoint import v1

    if leaves := _plain_leaves(tree):
        v1.save(str(checkpoint / LEAVES), leaves)


def _read_leaves(checkpoint: Path, like: Any, at: list[int], there: list[str]) -> Any:
    from orbax.checkpoint import v1

    plain = _plain_leaves(like, at)
    restored = v1.load(str(checkpoint / LEAVES), dict.fromkeys(there, v1.PLACEHOLDER) | plain) if plain else {}
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(
        structure, [_as(leaf, restored.get(_position(index))) for index, leaf in zip(at, leaves, strict=True)]
    )


def _plain_leaves(tree: Any, at: list[int] | None = None) -> dict[str, Any]:
    """Names the arrays by their position; typed keys become their data, and empty arrays, which orbax refuses, are left out."""
    arrays = list(map(_array, jax.tree.leaves(tree)))
    plain = (jax.random.key_data(array) if _is_key(array) else array for array in arrays)
    return {_position(index): array for index, array in zip(at or range(len(arrays)), plain, strict=True) if array.size}


def _as(like: Any, restored: Any) -> Any:
    if restored is None:
        return like
    if isinstance(like, jax.Array) and not like.committed:
        restored = jnp.array(np.asarray(restored))  # no more bound to a device than what it is like
    return jax.random.wrap_key_data(restored, impl=jax.random.key_impl(like)) if _is_key(like) else restored


def _position(index: int) -> str:
    return f"{index:05d}"


def _array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _write_json(path: Path, value: Any) -> None:
    with path.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
