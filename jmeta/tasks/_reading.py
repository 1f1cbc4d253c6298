"""Finding the files of a known set of data, and reading them without trusting them."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# What zipfile, gzip, zlib, numpy, pillow and scipy raise for damaged bytes, or bytes of another kind.
DAMAGE = (EOFError, IndexError, KeyError, OSError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


def located(path: str | Path | None, kind: str, folder: str, formats: Sequence[Sequence[str]], advice: str) -> list[Path]:
    """Gives the files of the first format that is there.

    Args:
      path: the folder with the files, or the one file of a format; None looks in ``folder`` of ``$JMETA_DATA``.
      kind: what the data is called.
      folder: where it is in ``$JMETA_DATA``.
      formats: names of files or folders, of which all are needed.
      advice: what to put where, for the error.

    Raises:
      FileNotFoundError: if no format is there as a whole.
    """
    root = os.environ.get("JMETA_DATA")
    place = Path(path) if path is not None else Path(root, folder) if root else None
    if place is not None:
        for names in formats:
            alone = len(names) == 1 and place.suffix == Path(names[0]).suffix and place.is_file()
            files = [place] if alone else [place / name for name in names]
            if all(file.exists() for file in files):
                return files
    raise FileNotFoundError(
        f"no {kind} data in {place or 'the environment (JMETA_DATA is not set)'}; {advice}, and pass the folder as path or set "
        f"JMETA_DATA to the folder that holds it as '{folder}'."
    )


def read_arrays(file: Path, kind: str, names: Sequence[str]) -> list[np.ndarray]:
    """Reads arrays of an npz file; nothing in it is run.

    Raises:
      ValueError: if it is damaged or has no such arrays.
    """
    try:
        # Opened here, because np.load leaves a damaged file open.
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except DAMAGE as error:
        wanted = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
        raise ValueError(f"path {file} is not a sound {kind} archive ({error}); expected arrays {wanted}.") from error


def check_shape(file: Path, name: str, array: np.ndarray, expected: Sequence[int | str]) -> None:
    """Checks the shape of an array that was read; sizes that are words may be any, the same for the same word.

    Raises:
      ValueError: if it is another.
    """
    known: dict[int | str, int] = {}
    fits = array.ndim == len(expected) and all(
        size == (wanted if isinstance(wanted, int) else known.setdefault(wanted, size))
        for size, wanted in zip(array.shape, expected, strict=True)
    )
    if not fits or 0 in array.shape:
        raise ValueError(f"path {file} must hold {name} [{', '.join(map(str, expected))}]; got {array.shape}.")
