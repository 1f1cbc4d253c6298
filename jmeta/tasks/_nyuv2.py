"""NYUv2 (Silberman, Hoiem, Kohli and Fergus, 2012): rooms, each pixel of which has a class of 13, a depth and a normal.

In the official split of 795 and 654 images; in the form that Liu, Johns and Davison (2019, 1803.10704) gave it, or a smaller one.
Augmentation follows LibMTL: zooms of 1, 1.2 or 1.5, and mirror images.

Difference from the authors' code: part of the training images is held out for validation.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._options import check_counts
from jmeta._types import Batch, Sampler
from jmeta.tasks._arrays import as_float
from jmeta.tasks._groups import minibatches
from jmeta.tasks._nyuv2_files import read_rooms
from jmeta.tasks._splits import Splits

ZOOMS = (1.0, 1.2, 1.5)


def nyuv2(path: str | Path | None, *, size: int = 8, validation: int = 95, augment: bool = False, seed: int = 0) -> Splits:
    """Reads rooms: ``x [n, h, w, 3]`` in [0, 1], ``y`` with ``"segmentation" [n, h, w]`` and ``"depth" [n, h, w, 1]`` in metres.

    Where the files have them, ``y`` holds unit normals, ``"normals" [n, h, w, 3]``, too. Weights ``{name: [n, h, w]}`` are 0 where
    a pixel has no class, which is then -1, no depth or no normal. Training images and targets stay on the device as they are in
    the files, and are converted when they are sampled.

    Args:
      path: a folder with ``train`` and ``val`` of MTAN's data, whose ``image``, ``label``, ``depth`` and ``normal`` hold ``0.npy``,
        ``1.npy`` and so on, or with ``nyuv2_96x128_train.npz`` and ``nyuv2_96x128_test.npz``; None looks in the folder ``nyuv2`` of
        ``$JMETA_DATA``. MTAN's take 4 GB.
      size: examples of a training batch.
      validation: how many training images are held out; none in the authors' code, which chooses by the test images.
      augment: zoom into training images, which brings what they show nearer by as much, and mirror half of them.
      seed: of the images that are held out.

    Raises:
      ValueError: if a file is damaged or holds something else, or ``size`` and ``validation`` are more than there are images.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    check_counts(size=size)
    check_counts(0, validation=validation, seed=seed)
    (images, targets), tested, metres = read_rooms(path)
    if validation >= len(images):
        raise ValueError(f"validation must leave images to train on; got {validation} of {len(images)}.")
    order = np.random.default_rng(seed).permutation(len(images))
    held, kept = np.sort(order[:validation]), np.sort(order[validation:])

    def part(rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return images[rows], {name: leaf[rows] for name, leaf in targets.items()}

    stored = minibatches(*part(kept), size)
    convert = functools.partial(_converted, metres)

    def sample(data: Batch, key: jax.Array) -> Batch:
        draw_key, augment_key = jax.random.split(key)
        drawn = stored.sample(data, draw_key)
        return convert(drawn, augment_key if augment else None)

    def whole(images: np.ndarray, targets: dict[str, np.ndarray]) -> Batch:
        return jax.device_get(convert(jax.tree.map(jnp.asarray, Batch(images, targets)), None))

    return Splits(Sampler(stored.data, sample), whole(*part(held)) if validation else None, whole(*tested))


def _converted(metres: float, batch: Batch, key: jax.Array | None) -> Batch:
    """Makes of what is stored what a model is trained on; with a key, augmented."""
    x, y = as_float(batch.x), dict(batch.y)
    y["segmentation"] = y["segmentation"].astype(jnp.int32)
    y["depth"] = y["depth"].astype(x.dtype) * jnp.asarray(metres, x.dtype)
    if key is not None:
        x, y = jax.vmap(_augmented)(x, y, jax.random.split(key, len(x)))
    known = {"segmentation": y["segmentation"] >= 0, "depth": y["depth"][..., 0] > 0}
    if "normals" in y:
        known["normals"] = (y["normals"] != 0).any(axis=-1)
    return Batch(x, y, None, jax.tree.map(lambda leaf: leaf.astype(x.dtype), known))


def _augmented(x: jax.Array, y: dict[str, Any], key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    """Cuts a window out of one room, makes it as large as the room was, and mirrors it or not."""
    zoom_key, top_key, left_key, mirror_key = jax.random.split(key, 4)
    height, width = x.shape[:2]
    zoom = jnp.asarray(ZOOMS, x.dtype)[jax.random.randint(zoom_key, (), 0, len(ZOOMS))]
    top = jax.random.uniform(top_key, (), x.dtype) * (height - height / zoom)
    left = jax.random.uniform(left_key, (), x.dtype) * (width - width / zoom)
    scales, shifts = jnp.stack([zoom, zoom]), -zoom * jnp.stack([top, left])
    x = jax.image.scale_and_translate(x, x.shape, (0, 1), scales, shifts, "linear", antialias=False)

    # Classes and the edges of things have no values in between: the nearest pixel.
    rows = jnp.minimum(top + (jnp.arange(height) + 0.5) / zoom, height - 1).astype(int)
    columns = jnp.minimum(left + (jnp.arange(width) + 0.5) / zoom, width - 1).astype(int)
    y = {name: leaf[rows[:, None], columns[None]] for name, leaf in y.items()}
    y["depth"] = y["depth"] / zoom

    mirrored = jax.random.bernoulli(mirror_key)
    x, y = jax.tree.map(lambda leaf: jnp.where(mirrored, leaf[:, ::-1], leaf), (x, y))
    if "normals" in y:
        across = jnp.where(mirrored, -1, 1).astype(x.dtype)
        y["normals"] = y["normals"].at[..., 0].multiply(across)
    return x, y
