"""Reading examples that a user has brought in an .npz file: every fault is one sentence that names the file and the array."""

import functools
import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "validation", "test")
NAMES = ("x", "y", "groups", "split")
FEWEST_LABELS = 2


class Table(NamedTuple):
    """Labelled examples, and which of them belong together.

    A *unit* is a class, or with ``groups`` a group: what is trained, validated or tested on as a whole.

    Attributes:
      x: ``[n, ...]`` float32 or uint8.
      y: ``[n]`` numbers of labels, or ``[n, outputs]`` float32.
      labels: what the labels are, in the order of their numbers; None for real numbers.
      unit: ``[n]``, the number of each row's unit.
      units: what they are called.
      grouped: whether units are groups.
      split: ``[units]``, which of ``SPLITS`` each belongs to; None where the file does not say.
      others: names of arrays that nobody asked for.
      digest: SHA-256 of the file.
    """

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    unit: np.ndarray
    units: np.ndarray
    grouped: bool
    split: np.ndarray | None
    others: tuple[str, ...]
    digest: str


def read_table(path: str) -> Table:
    """Reads ``x``, ``y``, and where they are there ``groups`` and ``split``.

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: naming the file, the array, what it holds and what is expected.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; expected an .npz file with the arrays x and y, as numpy.savez writes it.")
    found = Path(path).stat()
    return _read_table(path, found.st_mtime_ns, found.st_size)


def fault(path: str, array: str, got: str, expected: str) -> ValueError:
    """Makes the one sentence that a fault of a file is worth."""
    return ValueError(f"file {path}, array {array}: got {got}; expected {expected}.")


# The last file alone: a run looks at its data before it is built of them.
@functools.lru_cache(maxsize=1)
def _read_table(path: str, modified: int, size: int) -> Table:
    del modified, size
    arrays, others, digest = _read_arrays(path)
    for name, expected in (("x", "examples [n, ...]"), ("y", "a target for each row of x")):
        if name not in arrays:
            raise fault(path, name, f"none (the file holds {', '.join([*arrays, *others]) or 'nothing'})", expected)
    x = _inputs(path, arrays["x"])
    y, labels = _targets(path, arrays["y"], len(x))
    groups = arrays.get("groups")
    if groups is not None:
        _check_names(path, "groups", groups, len(x))
        units, unit = np.unique(groups, return_inverse=True)
    elif labels is not None:
        units, unit = labels, y
    else:
        expected = "the task of each row, because y holds real numbers; labels are whole numbers or text"
        raise fault(path, "groups", "none", expected)
    split = _split(path, arrays.get("split"), unit, units)
    return Table(x, y, labels, unit, units, groups is not None, split, others, digest)


def _read_arrays(path: str) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    try:
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            with zipfile.ZipFile(stream) as archive:
                members = [name.removesuffix(".npy") for name in archive.namelist()]
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                arrays = {name: _read_array(path, archive, name) for name in NAMES if name in members}
    except (EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"file {path} is no sound .npz file ({error}); expected one with the arrays x and y.") from error
    return arrays, tuple(name for name in members if name not in NAMES), digest


def _read_array(path: str, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        found = archive[name]
    except ValueError as error:
        # Reading objects would run what the file holds as a program.
        raise fault(path, name, f"what is not read ({error})", "numbers or text, not objects") from error
    if not isinstance(found, np.ndarray):
        raise fault(path, name, "no array", "one that numpy.savez has written")
    return found


def _inputs(path: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub":
        raise fault(path, "x", f"dtype {x.dtype}", "real numbers")
    if not x.size or not x.ndim:
        raise fault(path, "x", f"shape {x.shape}", "[n, ...] with at least one row and one number in it")
    x = x if x.dtype == np.uint8 else _as_float(path, "x", x)
    return x[:, None] if x.ndim == 1 else x


def _targets(path: str, y: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Gives the numbers of labels and what they are, or real numbers ``[n, outputs]``."""
    if y.dtype.kind == "f":
        if y.shape[:1] != (rows,) or y.ndim > 2 or not y.size:
            raise fault(path, "y", f"shape {y.shape}", f"[n] or [n, outputs] with the {rows} rows of x")
        return _as_float(path, "y", y).reshape(rows, -1), None
    _check_names(path, "y", y, rows)
    labels, numbers = np.unique(y, return_inverse=True)
    if len(labels) < FEWEST_LABELS:
        raise fault(path, "y", f"{len(labels)} label", f"at least {FEWEST_LABELS}")
    return numbers, labels


def _as_float(path: str, name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if wrong := int((~np.isfinite(values)).sum()):
        raise fault(path, name, f"{wrong} of {values.size} values that are NaN or infinite in float32", "finite numbers")
    return values


def _check_names(path: str, name: str, values: np.ndarray, rows: int) -> None:
    if values.dtype.kind not in "iubUS":
        raise fault(path, name, f"dtype {values.dtype}", "whole numbers or text")
    if values.shape != (rows,):
        raise fault(path, name, f"shape {values.shape}", f"({rows},), one entry for each row of x")


def _split(path: str, split: np.ndarray | None, unit: np.ndarray, units: np.ndarray) -> np.ndarray | None:
    """Gives the split of each unit, where it was given by unit or by row."""
    if split is None:
        return None
    if split.dtype.kind not in "US" or split.shape not in ((len(unit),), (len(units),)):
        expected = f"text of shape ({len(unit)},), for each row, or ({len(units)},), for each class or group in sorted order"
        raise fault(path, "split", f"{split.dtype} of shape {split.shape}", expected)
    split = split.astype(str)
    if wrong := sorted(set(split.tolist()) - set(SPLITS)):
        raise fault(path, "split", repr(wrong[0]), f"one of {', '.join(SPLITS)}")
    if split.shape != unit.shape:
        return split
    first = split[np.unique(unit, return_index=True)[1]]
    if (torn := first[unit] != split).any():
        row = int(torn.argmax())
        got = f"{units[unit[row]]} in {first[unit[row]]} and in {split[row]}"
        raise fault(path, "split", got, "every class or group in one split, because tests are on new ones")
    return first
