"""What a training has written, read back."""

from pathlib import Path

import jax
import numpy as np

from jmeta import checkpointing
from jmeta._reporting import CHECKPOINTS
from jmeta._types import Params


def load_params(directory: str | Path, like: Params) -> Params:
    """Gives the parameters of a training alone: those of the best validation if there was one, else the last.

    Args:
      directory: what :func:`jmeta.fit`, or ``jmeta train ... --out``, was given.
      like: a pytree of the same structure, shapes and dtypes, such as fresh parameters.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if ``like`` is of another model, or every checkpoint is damaged, naming a file.
    """
    saved, dtype = checkpointing.newest(Path(directory) / CHECKPOINTS), jax.dtypes.canonicalize_dtype(float)
    for path, _, shape in saved.leaves:
        if path == ".best.loss" and np.isfinite(checkpointing.read(saved, np.zeros(shape, dtype), part=path)).all():
            return checkpointing.read(saved, like, part=".best.params")
    return checkpointing.read(saved, like, part=".state.params")
