"""Four tasks on one image of two characters, after MultiMNIST (Sabour et al., 2017, 1710.09829) and made up on the device."""

import math

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Batch, Sampler
from jmeta.tasks._strokes import DEVIATES, GENERATOR, SPLITS, Glyph, character, check_drawing, ink, place, vary

# The size of a character, how far each is from the middle of the image, and how far it is moved at most, to either side.
EXTENT, APART, SHIFT = 0.5, 0.14, 0.06
MIDDLES = ((-APART, -APART), (APART, APART))


def multi_glyphs(
    *,
    examples: int = 64,
    classes: int = 10,
    size: int = 28,
    rotation: float = math.pi,
    jitter: float = 1.0,
    split: str = "train",
    seed: int = 0,
) -> Sampler:
    """Draws batches of two characters, ``x [n, size, size, 1]`` with ink 1 on 0, and four targets.

    The first stands at the upper left and lies over the second, at the lower right; ``y`` is a dict of

    ======== ====================== ===========================================================================================
    target   values                 is
    ======== ====================== ===========================================================================================
    first    ``[n]`` integers       the class of the first character
    second   ``[n]`` integers       the class of the second, drawn independently
    rotation ``[n, 2]``             cosine and sine of the angle by which both are turned clockwise, each about its own middle
    mask     ``[n, size, size]``    0 for paper, 1 for ink of the first above one half, 2 for what is seen of that of the second
    ======== ====================== ===========================================================================================

    Classes want features that a rotation leaves alone, the angle such as it changes, the mask such as say where.
    The alphabet is the same in every split, the drawings are others: the key of each split goes on in a stream of its own.

    Args:
      examples: rows of a batch, n.
      classes: characters of the alphabet.
      size: pixels of a side, at least 8.
      rotation: the largest angle to either side, in radians, at most pi.
      jitter: how much the drawings of a character differ otherwise; 0 makes all alike.
      split: ``"train"``, ``"validation"`` or ``"test"``.
      seed: which alphabet.

    Raises:
      ValueError: if a count is no whole number of at least 1 (8 for ``size``, 0 for ``seed``), ``rotation`` is not between 0 and
        pi, ``jitter`` is negative or not finite, or ``split`` is unknown.

    >>> batches = multi_glyphs(examples=32)
    >>> batches.sample(batches.data, jax.random.key(0)).y["mask"].shape
    (32, 28, 28)
    """
    check_counts(examples=examples, classes=classes)
    check_counts(0, seed=seed)
    check_drawing(size, jitter, split)
    if not 0 <= rotation <= math.pi:
        raise ValueError(f"rotation must be between 0 and pi, in radians; got {rotation}.")
    words = jax.random.key_data(jax.random.split(jax.random.key(seed, impl=GENERATOR), classes))
    stream = jnp.asarray(SPLITS.index(split), jnp.int32)
    data = {"alphabet": words, "stream": stream, "rotation": jnp.asarray(rotation, float), "jitter": jnp.asarray(jitter, float)}

    def sample(data: dict[str, jax.Array], key: jax.Array) -> Batch:
        class_key, angle_key, drawing_key = jax.random.split(jax.random.fold_in(key, data["stream"]), 3)
        labels = jax.random.randint(class_key, (2, examples), 0, classes)
        angles = data["rotation"] * jax.random.uniform(angle_key, (examples,), minval=-1.0, maxval=1.0)
        characters = jax.tree.map(lambda leaf: leaf[labels], jax.vmap(character)(data["alphabet"]))
        deviates = jax.random.uniform(drawing_key, (2, examples, DEVIATES + 2), minval=-1.0, maxval=1.0)
        draw = jax.vmap(jax.vmap(_drawing, (0, 0, 0, None, None, None)), (0, 0, None, 0, None, None))
        first, second = draw(deviates, characters, angles, jnp.array(MIDDLES), data["jitter"], size)
        y = {
            "first": labels[0],
            "second": labels[1],
            "rotation": jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1),
            "mask": jnp.where(first > 0.5, 1, jnp.where(second > 0.5, 2, 0)),
        }
        return Batch(jnp.maximum(first, second)[..., None], y)

    return Sampler(data, sample)


def _drawing(deviates: jax.Array, glyph: Glyph, angle: jax.Array, middle: jax.Array, jitter: jax.Array, size: int) -> jax.Array:
    form, shift = jnp.split(deviates, [DEVIATES])
    return ink(place(vary(form, glyph, jitter), angle, EXTENT, middle + SHIFT * jitter * shift), size)
