"""MNIST and USPS as two domains: digits written on forms, and digits from envelopes."""

from pathlib import Path

import jax
import numpy as np

from jmeta._types import Batch
from jmeta.tasks._mnist import SIZE, mnist
from jmeta.tasks._usps import usps


def mnist_usps(path: str | Path | None) -> dict[str, dict[str, Batch]]:
    """Reads digits of two domains in one form: ``x [n, 28, 28, 1]`` bytes, ``y [n]`` labels, by domain and part.

    The domains are ``"mnist"`` and ``"usps"``, the parts ``"train"`` and ``"test"``. Images of USPS, 16 x 16, are enlarged by
    linear interpolation.

    Args:
      path: a folder with the folders ``mnist`` and ``usps``; None is that of ``$JMETA_DATA``. See :func:`jmeta.mnist` and
        :func:`jmeta.usps`.

    Raises:
      ValueError: if a file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    places = {name: None if path is None else Path(path) / name for name in ("mnist", "usps")}
    small = usps(places["usps"])
    return {"mnist": mnist(places["mnist"]), "usps": {part: _enlarged(batch) for part, batch in small.items()}}


def _enlarged(batch: Batch) -> Batch:
    large = jax.image.resize(batch.x.astype(np.float32), (len(batch.x), SIZE, SIZE, 1), "linear")
    return batch._replace(x=np.rint(large).astype(np.uint8))
