"""Sets of several domains: features and labels of each under its name in one archive."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmeta._types import Batch
from jmeta.tasks._reading import check_shape, read_arrays


def read_domains(file: Path, kind: str, domains: Sequence[str], width: int, classes: int) -> dict[str, Batch]:
    """Reads ``NAME_x [n, width]`` and ``NAME_y [n]`` of each domain.

    Raises:
      ValueError: if the file is damaged, features are not finite or negative, or a label is none of ``0, ..., classes - 1``.
    """
    arrays = read_arrays(file, kind, [f"{name}_{part}" for name in domains for part in "xy"])
    found = {}
    for name, features, labels in zip(domains, arrays[::2], arrays[1::2], strict=True):
        check_shape(file, f"{name}_x", features, ("n", width))
        check_shape(file, f"{name}_y", labels, (len(features),))
        rows = features.astype(np.float32)
        if not (np.isfinite(rows) & (rows >= 0)).all() or not np.isin(labels, np.arange(classes)).all():
            raise ValueError(
                f"path {file} must hold features of {name} that are at least 0, and labels 0, ..., {classes - 1}; got features "
                f"from {rows.min()} to {rows.max()} and labels from {labels.min()} to {labels.max()}."
            )
        found[name] = Batch(rows, labels.astype(np.int32))
    return found
