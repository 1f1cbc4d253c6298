"""MNIST and USPS as two domains: digits written on forms, and digits from envelopes."""

from pathlib import Path

import numpy as np

from jmeta._types import Batch
from jmeta.tasks._mnist import mnist
from jmeta.tasks._usps import usps

FRAME = 6


def mnist_usps(path: str | Path | None) -> dict[str, dict[str, Batch]]:
    """Reads digits of two domains in one form: ``x [n, 28, 28, 1]`` bytes, ``y [n]`` labels, by domain and part.

    The domains are ``"mnist"`` and ``"usps"``, the parts ``"train"`` and ``"test"``. Images of USPS, 16 x 16, get a frame
    of 6 empty pixels: enlarged instead, digits would be larger than those of MNIST, which have a frame too.

    Args:
      path: a folder with the folders ``mnist`` and ``usps``; None is that of ``$JMETA_DATA``. See :func:`jmeta.mnist` and
        :func:`jmeta.usps`.

    Raises:
      ValueError: if a file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    places = {name: None if path is None else Path(path) / name for name in ("mnist", "usps")}
    small = usps(places["usps"])
    return {"mnist": mnist(places["mnist"]), "usps": {part: _framed(batch) for part, batch in small.items()}}


def _framed(batch: Batch) -> Batch:
    return batch._replace(x=np.pad(batch.x, ((0, 0), (FRAME, FRAME), (FRAME, FRAME), (0, 0))))
