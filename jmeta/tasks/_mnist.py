"""MNIST (LeCun, Cortes and Burges): digits written by hand."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta._types import Batch
from jmeta.tasks._reading import DAMAGE, check_shape, located, read_arrays

ARCHIVE = "mnist.npz"
OFFICIAL = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FORMATS = ((ARCHIVE,), tuple(f"{name}.gz" for name in OFFICIAL), OFFICIAL)
ADVICE = f"put {', '.join(OFFICIAL)} (or each with .gz) from github.com/cvdfoundation/mnist, or {ARCHIVE}, there"
SIZE, DIGITS = 28, 10


def mnist(path: str | Path | None) -> dict[str, Batch]:
    """Reads digits: ``x [n, 28, 28, 1]`` bytes, ``y [n]`` labels, of the parts ``"train"`` and ``"test"``.

    :func:`jmeta.minibatches` keeps the bytes on the device and makes them floats in [0, 1] in each batch.

    Args:
      path: a folder with the four official files, compressed or not, or with ``mnist.npz``, or such an npz file (that of Keras has
        the same arrays); None looks in the folder ``mnist`` of ``$JMETA_DATA``.

    Raises:
      ValueError: if a file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    train, test = read_digits(path)
    return {
        name: Batch(images[..., None], labels.astype(np.int32)) for name, (images, labels) in (("train", train), ("test", test))
    }


def read_digits(path: str | Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reads images ``[n, 28, 28]`` and labels ``[n]`` of the training and the test part."""
    return _read(located(path, "MNIST", "mnist", FORMATS, ADVICE))


def _read(files: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gives images ``[n, 28, 28]`` and labels ``[n]`` of the training and the test part."""
    if files[0].suffix == ".npz":
        arrays = read_arrays(files[0], "MNIST", ("x_train", "y_train", "x_test", "y_test"))
    else:
        arrays = [_read_official(file) for file in files]
    files = files if len(files) > 1 else files * 4
    for number in (0, 2):
        check_shape(files[number], "images", arrays[number], ("n", SIZE, SIZE))
        check_shape(files[number + 1], "labels", arrays[number + 1], (len(arrays[number]),))
        if arrays[number].dtype != np.uint8 or not (np.isin(arrays[number + 1], np.arange(DIGITS))).all():
            raise ValueError(f"path {files[number]} must hold images of bytes and labels 0, ..., 9; got {_kinds(arrays)}.")
    return [(arrays[0], arrays[1]), (arrays[2], arrays[3])]


def _kinds(arrays: Sequence[Any]) -> str:
    return ", ".join(f"{array.dtype} from {array.min()} to {array.max()}" for array in arrays)


def _read_official(file: Path) -> np.ndarray:
    """Reads an idx file: two zero bytes, a type (8: bytes), a rank, sizes of four bytes each, high ones first, and the numbers."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        rank = content[3]
        shape = np.frombuffer(content, ">u4", rank, 4).tolist()
        if content[:3] != b"\0\0\x08" or len(content) != 4 + 4 * rank + math.prod(shape):
            raise ValueError(f"{len(content)} bytes that begin with {content[:4]!r}")
    except DAMAGE as error:
        raise ValueError(f"path {file} is not a sound file of MNIST ({error}); expected the official one.") from error
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
