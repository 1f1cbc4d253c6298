"""The two forms in which NYUv2 is read: MTAN's folders of one array per image, and an archive of all of them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jmeta.tasks._reading import DAMAGE, check_shape, located, read_arrays

ARCHIVES = ("nyuv2_96x128_train.npz", "nyuv2_96x128_test.npz")
PARTS, KINDS = ("train", "val"), ("image", "label", "depth", "normal")
FOLDERS = tuple(f"{part}/{kind}" for part in PARTS for kind in KINDS)
ADVICE = f"put the folders train and val of the data of github.com/lorenmt/mtan, or {' and '.join(ARCHIVES)}, there"
CLASSES, VOID = 13, 255

Part = tuple[np.ndarray, dict[str, np.ndarray]]


class Rooms(NamedTuple):
    """Images ``[n, h, w, 3]``, bytes or floats in [0, 1], and targets.

    Attributes:
      train: images, and by name ``"segmentation" [n, h, w]`` with -1 for no class, ``"depth" [n, h, w, 1]``, in MTAN's form
        ``"normals" [n, h, w, 3]``.
      test: likewise.
      metres: what a unit of depth is.
    """

    train: Part
    test: Part
    metres: float


def read_rooms(path: str | Path | None) -> Rooms:
    """Reads the form that is there.

    Raises:
      ValueError: if a file is damaged or holds something else.
      FileNotFoundError: if the data, or one file of it, is not there.
    """
    files = located(path, "NYUv2", "nyuv2", (ARCHIVES, FOLDERS), ADVICE)
    if files[0].suffix != ".npz":
        train, test = (_read_folders(dict(zip(KINDS, part, strict=True))) for part in (files[:4], files[4:]))
        return Rooms(train, test, 1.0)
    (train, metres), (test, of_test) = map(_read_archive, files)
    if metres != of_test:
        raise ValueError(f"path {files[1]} must hold the depth_scale_m of the training archive, {metres}; got {of_test}.")
    return Rooms(train, test, metres)


def _read_archive(file: Path) -> tuple[Part, float]:
    image, depth, metres, classes = read_arrays(file, "NYUv2", ("image", "depth_u8", "depth_scale_m", "seg13"))
    check_shape(file, "image", image, ("n", "h", "w", 3))
    for name, array in (("depth_u8", depth), ("seg13", classes)):
        check_shape(file, name, array, image.shape[:3])
        if array.dtype != np.uint8 or image.dtype != np.uint8:
            raise ValueError(f"path {file} must hold image and {name} of bytes; got {image.dtype} and {array.dtype}.")
    segmentation = np.where(classes == VOID, -1, classes.astype(np.int16))
    return (image, {"segmentation": _checked(file, segmentation), "depth": depth[..., None]}), float(metres)


def _read_folders(folders: dict[str, Path]) -> Part:
    count = len(list(folders["image"].glob("*.npy")))
    if not count:
        raise FileNotFoundError(f"no images in {folders['image']}; expected 0.npy, 1.npy and so on.")
    image, label, depth, normal = (_read_all(folders[kind], count) for kind in KINDS)
    check_shape(folders["image"], "images", image, ("n", "h", "w", 3))
    wanted = {"label": (label, ()), "depth": (depth, (1,)), "normal": (normal, (3,))}
    for kind, (array, last) in wanted.items():
        check_shape(folders[kind], f"{kind}s", array, (*image.shape[:3], *last))
    segmentation = _checked(folders["label"], label.astype(np.int16))
    return image, {"segmentation": segmentation, "depth": depth, "normals": normal}


def _read_all(folder: Path, count: int) -> np.ndarray:
    """Reads ``0.npy`` and so on into one array, which alone is kept: the whole is of gigabytes."""
    whole: np.ndarray | None = None
    for number in range(count):
        file = folder / f"{number}.npy"
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; expected an array for each of the {count} images.")
        try:
            array = np.load(file, allow_pickle=False)
            whole = np.empty((count, *array.shape), np.float32) if whole is None else whole
            if array.shape != whole.shape[1:]:
                raise ValueError(f"shape {array.shape} among others of {whole.shape[1:]}")
            whole[number] = array
        except DAMAGE as error:
            raise ValueError(f"path {file} is not a sound array of NYUv2 ({error}); expected numbers of one shape.") from error
    return np.empty(0) if whole is None else whole


def _checked(place: Path, segmentation: np.ndarray) -> np.ndarray:
    """Makes bytes of classes."""
    if segmentation.min() < -1 or segmentation.max() >= CLASSES:
        found = f"{segmentation.min()} to {segmentation.max()}"
        raise ValueError(f"path {place} must hold classes 0, ..., {CLASSES - 1}, or none; got {found}.")
    return segmentation.astype(np.int8)
