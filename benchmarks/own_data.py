"""Files as a user may bring them to ``jmeta train METHOD arrays --path FILE``, made of the benchmark data."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jmeta._catalogue.rows import CLASSIFICATION, REGRESSION


def school() -> dict[str, np.ndarray]:
    """Gives pupils by school, whose exam scores are to be predicted."""
    data = _load("school/school.npz")
    return {"x": data["x"], "y": data["y"], "groups": data["task"]}


def characters() -> dict[str, np.ndarray]:
    """Gives Omniglot's drawings as vectors: their ink in 14 x 14 cells, in the split of Vinyals 2016."""
    data = _load("omniglot/omniglot28.npz")
    drawings = data["images"].reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255
    split = np.full(len(data["images"]), "test", "<U10")
    for name, key in (("train", "vinyals_train"), ("validation", "vinyals_val")):
        split[data[key][:, 0]] = name
    labels = np.repeat(np.arange(len(split)), data["images"].shape[1])
    return {"x": drawings.reshape(len(labels), -1).astype(np.float32), "y": labels, "split": split}


# Each with the kind of problem that it is.
FILES: dict[str, tuple[str, Callable[[], dict[str, np.ndarray]]]] = {
    "school": (REGRESSION, school),
    "characters": (CLASSIFICATION, characters),
}


def write(name: str, directory: Path) -> Path:
    """Writes one of the files, unless it is there already.

    Raises:
      FileNotFoundError: if the data that it is made of is not there.
    """
    path = directory / f"{name}.npz"
    if not path.exists():
        arrays = FILES[name][1]()
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
    return path


def _load(name: str) -> dict[str, np.ndarray]:
    path = Path(os.environ.get("JMETA_DATA", "")) / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is not in the folder that JMETA_DATA names; got {os.environ.get('JMETA_DATA')!r}.")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
