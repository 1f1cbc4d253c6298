"""MultiMNIST (Sabour, Frosst and Hinton, 2017, 1710.09829), as Sener and Koltun (2018, 1810.04650) made it for two tasks.

Two digits overlap in one image, one to the upper left and one to the lower right; a task for each says which it is.

Differences from the authors' code: digits for validation are held out before anything is paired; pairs come from a seed.
"""

from pathlib import Path

import jax
import numpy as np

from jmeta._options import check_counts
from jmeta._types import Batch, Sampler
from jmeta.tasks._groups import minibatches
from jmeta.tasks._mnist import SIZE, read_digits
from jmeta.tasks._splits import Scale, Splits

CANVAS, SHIFT = 36, 6
# Of all pixels of MNIST's training images; the pairs are normalised by the same.
MEAN, DEVIATION = 0.1307, 0.3081


def multi_mnist(path: str | Path | None, *, size: int = 256, validation: int = 10_000, seed: int = 0) -> Splits:
    """Reads MNIST and lays another digit over each: ``x [n, 28, 28, 1]``, ``y`` labels ``{"left": [n], "right": [n]}``.

    The left digit lies at rows and columns 0 to 27 of a canvas of 36 x 36 pixels, the right one at 6 to 33, the brighter of the two
    where they overlap. The canvas is stretched to the whole range of brightness and reduced to 28 x 28 by nearest neighbours. There
    is one pair for each digit, which is its left; its right is drawn from all digits of the same part, itself among them. Images
    stay bytes on the device and are normalised when they are sampled.

    Args:
      path: a folder with the four official files, compressed or not, or with ``mnist.npz``, or such an npz file (that of Keras has
        the same arrays); None looks in the folder ``mnist`` of ``$JMETA_DATA``.
      size: examples of a training batch.
      validation: how many of the 60,000 training digits are held out; none in the authors' code.
      seed: of the digits that are held out, and of the pairs.

    Raises:
      ValueError: if a file is damaged or holds something else, or ``size`` and ``validation`` are more than there are digits.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    check_counts(size=size)
    check_counts(0, validation=validation, seed=seed)
    (images, labels), tested = read_digits(path)
    if validation > len(images) - 2:
        raise ValueError(f"validation must leave digits to train on; got {validation} of {len(images)}.")
    random = np.random.default_rng(seed)
    order = random.permutation(len(images))
    held, kept = order[:validation], order[validation:]
    pairs = _paired(images[kept], labels[kept], random)
    train = minibatches(pairs.x, pairs.y, size)
    # Drawn apart, so that the pairs of the test are the same whatever is held out.
    test = _paired(*tested, np.random.default_rng([seed, 1]))
    of_validation = _normalised(_paired(images[held], labels[held], random)) if validation else None
    return Splits(_normalising(train), of_validation, _normalised(test), Scale(MEAN, DEVIATION))


def _normalising(train: Sampler) -> Sampler:
    def sample(data: Batch, key: jax.Array) -> Batch:
        drawn = train.sample(data, key)
        return drawn._replace(x=(drawn.x - MEAN) / DEVIATION)

    return Sampler(train.data, sample)


def _normalised(batch: Batch) -> Batch:
    return batch._replace(x=((batch.x * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(DEVIATION)))


def _paired(images: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> Batch:
    """Lays over each digit ``[n, 28, 28]`` one that is drawn from all of them."""
    right = random.integers(0, len(images), len(images))
    labels = labels.astype(np.int32)
    return Batch(overlaid(images, images[right])[..., None], {"left": labels, "right": labels[right]})


def overlaid(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Makes images ``[n, 28, 28]`` of two digits from digits ``[n, 28, 28]``, all of bytes."""
    canvas = np.zeros((len(left), CANVAS, CANVAS), np.uint8)
    canvas[:, :SIZE, :SIZE] = left
    place = canvas[:, SHIFT : SHIFT + SIZE, SHIFT : SHIFT + SIZE]
    np.maximum(place, right, out=place)
    # SciPy's imresize, which the authors used, stretches an image of floats from its least and most to 0 and 255.
    brightest = canvas.max((1, 2))
    kept = ((np.arange(SIZE) + 0.5) * CANVAS / SIZE).astype(int)
    small = canvas[:, kept[:, None], kept]
    dim = np.flatnonzero((brightest > 0) & (brightest < 255))
    scale = 255 / brightest[dim].astype(float)
    small[dim] = small[dim] * scale[:, None, None] + 0.5
    return small
