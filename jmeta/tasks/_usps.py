"""USPS (Hull, 1994): digits from envelopes, scanned by the US Postal Service."""

from pathlib import Path

import numpy as np

from jmeta._types import Batch
from jmeta.tasks._mnist import DIGITS
from jmeta.tasks._reading import check_shape, located, read_arrays

ARCHIVE, SIZE = "usps.npz", 16
NAMES = ("x_train", "y_train", "x_test", "y_test")
ADVICE = f"put {ARCHIVE} with bytes x_train, x_test [n, {SIZE}, {SIZE}] and labels y_train, y_test [n] there"


def usps(path: str | Path | None) -> dict[str, Batch]:
    """Reads digits: ``x [n, 16, 16, 1]`` bytes, 0 where there is no ink, ``y [n]`` labels, of the parts ``"train"`` and ``"test"``.

    Unlike those of MNIST they fill the image to its edges.

    Args:
      path: a folder with ``usps.npz``, or such a file; None looks in the folder ``usps`` of ``$JMETA_DATA``.

    Raises:
      ValueError: if the file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    (file,) = located(path, "USPS", "usps", ((ARCHIVE,),), ADVICE)
    arrays = read_arrays(file, "USPS", NAMES)
    found = {}
    for part, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        check_shape(file, f"x_{part}", images, ("n", SIZE, SIZE))
        check_shape(file, f"y_{part}", labels, (len(images),))
        if images.dtype != np.uint8 or not np.isin(labels, np.arange(DIGITS)).all():
            raise ValueError(
                f"path {file} must hold images of bytes and labels 0, ..., 9; got {images.dtype} and labels from {labels.min()} to "
                f"{labels.max()}."
            )
        found[part] = Batch(images[..., None], labels.astype(np.int32))
    return found
