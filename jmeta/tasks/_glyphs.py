"""Few-shot classification of characters that are made up and drawn on the device: images that need no data."""

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Batch, Episode, Sampler
from jmeta.tasks._drawing import draw_distinct
from jmeta.tasks._strokes import DEVIATES, SPLITS, Glyph, character, check_drawing, ink, place, vary

# How many characters a split has.
MOST_CLASSES = 2**30
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

    A class is a number below 2^30; its character, of 2 to 4 strokes, follows from the split and the number alone, so that none of
    one split is seen in another. Every drawing differs in its control points, proportions, slant, angle, place and pen. The
    classes of an episode are distinct and in random order, its rows balanced and grouped by class.

    Args:
      ways: classes of an episode.
      shots: support drawings per class.
      queries: query drawings per class.
      size: pixels of a side, at least 8.
      classes: how many characters of the split there are; None for all 2^30.
      jitter: how much the drawings of a class differ; 0 makes all alike.
      split: ``"train"``, ``"validation"`` or ``"test"``.

    Raises:
      ValueError: if a count is no whole number of at least 1 (of 8 for ``size``), ``classes`` is below ``ways`` or above 2^30,
        ``jitter`` is negative or not finite, or ``split`` is unknown.

    >>> import jax
    >>> sampler = glyphs(ways=5, shots=1, queries=15)
    >>> sampler.sample(sampler.data, jax.random.key(0)).query.x.shape
    (75, 28, 28, 1)
    """
    check_counts(ways=ways, shots=shots, queries=queries, classes=classes)
    check_drawing(size, jitter, split)
    count = MOST_CLASSES if classes is None else classes
    if not ways <= count <= MOST_CLASSES:
        raise ValueError(f"classes must be between the ways, {ways}, and 2^30; got {count}.")

    def sample(data: dict[str, jax.Array], key: jax.Array) -> Episode:
        class_key, drawing_key = jax.random.split(key)
        numbers = draw_distinct(class_key, count, ways).astype(jnp.uint32)
        characters = jax.vmap(character)(jnp.stack([jnp.broadcast_to(data["split"], numbers.shape), numbers], axis=-1))
        deviates = jax.random.uniform(drawing_key, (ways, shots + queries, DEVIATES + 3), minval=-1.0, maxval=1.0)
        draw = jax.vmap(jax.vmap(_drawing, (0, None, None, None)), (0, 0, None, None))
        drawn = draw(deviates, characters, data["jitter"], size)
        labels = jnp.tile(jnp.arange(ways)[:, None], shots + queries)

        def rows(start: int, stop: int) -> Batch:
            return Batch(drawn[:, start:stop].reshape(-1, size, size, 1), labels[:, start:stop].reshape(-1))

        return Episode(rows(0, shots), rows(shots, shots + queries), jnp.ones(ways, bool))

    return Sampler({"split": jnp.asarray(SPLITS.index(split), jnp.uint32), "jitter": jnp.asarray(jitter, float)}, sample)


def _drawing(deviates: jax.Array, glyph: Glyph, jitter: jax.Array, size: int) -> jax.Array:
    form, (angle, *middle) = jnp.split(deviates, [DEVIATES])
    middle = SHIFT * jitter * jnp.stack(middle)
    return ink(place(vary(form, glyph, jitter), TURN * jitter * angle, EXTENT, middle), size)
