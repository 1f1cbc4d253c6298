"""Few-shot classification of characters that are made up and drawn on the device: images that need no data."""

import jax
import jax.numpy as jnp

from jmeta._types import Batch, Episode, Sampler
from jmeta._validation import check_counts
from jmeta.tasks._strokes import SPLITS, character, check_drawing, ink, place, vary

# How many characters each split has, and which number its first one has is that times the place of the split.
STREAM = 2**29
# The size of a character, and how far it is turned (radians) and moved at most, to either side.
EXTENT, TURN, SHIFT = 0.62, 0.3, 0.17


def glyphs(
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    size: int = 28,
    classes: int | None = None,
    jitter: float = 1.0,
    split: str = "train",
) -> Sampler:
    """Draws episodes of made-up characters, ``x [n, size, size, 1]`` with ink 1 on 0.

    A class is a whole number, from which a character of 2 to 4 strokes follows; each split has 2^29 numbers of its own, so that no
    character of one is seen in another. Every drawing differs in its control points, proportions, slant, angle, place and pen. The
    classes of an episode are distinct and in random order, its rows balanced and grouped by class.

    Args:
      ways: classes of an episode.
      shots: support drawings per class.
      queries: query drawings per class.
      size: pixels of a side, at least 8.
      classes: how many characters of the split there are; None for no end of them.
      jitter: how much the drawings of a class differ; 0 makes all alike.
      split: ``"train"``, ``"validation"`` or ``"test"``.

    Raises:
      ValueError: if a count is no whole number of at least 1 (of 8 for ``size``), there are fewer classes than ``ways``, ``jitter``
        is negative or not finite, or ``split`` is unknown.

    >>> import jax
    >>> sampler = glyphs(ways=5, shots=1, queries=15)
    >>> sampler.sample(sampler.data, jax.random.key(0)).query.x.shape
    (75, 28, 28, 1)
    """
    check_counts(ways=ways, shots=shots, queries=queries, classes=classes)
    check_drawing(size, jitter, split)
    if not ways <= (available := STREAM if classes is None else min(classes, STREAM)):
        raise ValueError(f"ways must be at most the number of classes; got ways={ways} and {available} classes.")
    first = SPLITS.index(split) * STREAM

    def sample(data: dict[str, jax.Array], key: jax.Array) -> Episode:
        class_key, drawing_key = jax.random.split(key)
        numbers = first + _numbers(class_key, ways, classes)
        drawing_keys = jax.random.split(drawing_key, (ways, shots + queries))
        drawn = jax.vmap(_drawings, (0, 0, None, None))(numbers, drawing_keys, data["jitter"], size)
        labels = jnp.tile(jnp.arange(ways)[:, None], shots + queries)

        def rows(start: int, stop: int) -> Batch:
            return Batch(drawn[:, start:stop].reshape(-1, size, size, 1), labels[:, start:stop].reshape(-1))

        return Episode(rows(0, shots), rows(shots, shots + queries), jnp.ones(ways, bool))

    return Sampler({"jitter": jnp.asarray(jitter, float)}, sample)


def _numbers(key: jax.Array, ways: int, classes: int | None) -> jax.Array:
    """Draws ``[ways]`` distinct numbers below the number of classes."""
    if classes is not None:
        return jax.lax.top_k(jax.random.uniform(key, (classes,)), ways)[1]
    # One of each remainder: no list of half a billion numbers is needed to draw without replacement.
    return ways * jax.random.randint(key, (ways,), 0, STREAM // ways) + jnp.arange(ways)


def _drawings(number: jax.Array, keys: jax.Array, jitter: jax.Array, size: int) -> jax.Array:
    """Draws the character of a number ``[n, size, size]`` times, once for each key."""
    # Threefry takes distinct numbers to distinct keys, whichever generator the caller has chosen.
    glyph = character(jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), number))

    def draw(key: jax.Array) -> jax.Array:
        form_key, place_key = jax.random.split(key)
        angle, *middle = jitter * jax.random.uniform(place_key, (3,), minval=-1.0, maxval=1.0)
        return ink(place(vary(form_key, glyph, jitter), TURN * angle, EXTENT, SHIFT * jnp.stack(middle)), size)

    return jax.vmap(draw)(keys)
