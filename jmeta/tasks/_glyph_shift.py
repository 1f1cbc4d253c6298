"""Two domains of made-up characters, drawn on the device: ink on white paper, and a thicker pen on grey, grainy paper."""

import jax
import jax.numpy as jnp

from jmeta._options import check_counts
from jmeta._types import Batch, Sampler
from jmeta.tasks._strokes import DEVIATES, GENERATOR, SPLITS, Glyph, character, check_drawing, ink, place, vary

# The size of a character, and how far it is turned (radians) and moved at most, to either side.
EXTENT, TURN, MOVE = 0.7, 0.15, 0.08
# What a shift of 1 adds to the pen, takes from the contrast, and how dark and how grainy it makes the paper.
THICKER, PALER, DARKER, GRAIN = 0.6, 0.5, 0.3, 0.2


def glyph_shift(
    *,
    examples: int = 64,
    classes: int = 10,
    size: int = 28,
    shift: float = 1.0,
    jitter: float = 1.0,
    split: str = "train",
    seed: int = 0,
) -> Sampler:
    r"""Draws two domains of the same characters: ``{"source": Batch(x, y), "target": Batch(x, None)}``.

    Inputs are ``x [n, size, size, 1]``, labels ``y [n]``. The source has ink 1 on paper 0; in the target the pen is
    :math:`1 + 0.6 s` times as thick, and

    .. math:: x^t = 0.3 s + (1 - 0.5 s) \cdot \text{ink} + 0.2 s \cdot \varepsilon

    with the shift :math:`s` and Gaussian noise :math:`\varepsilon`. The alphabet is the same in both domains and in every split,
    the drawings are all others. Labels of the target come with ``"validation"`` and ``"test"`` alone, to evaluate by.

    Args:
      examples: rows of a batch in each domain, n.
      classes: characters of the alphabet.
      size: pixels of a side, at least 8.
      shift: how far the target is from the source, :math:`s`; at 0 they are alike.
      jitter: how much the drawings of a character differ; 0 makes all of a domain alike, but for the grain.
      split: ``"train"``, ``"validation"`` or ``"test"``.
      seed: which alphabet.

    Raises:
      ValueError: if a count is no whole number of at least 1 (8 for ``size``, 0 for ``seed``), ``shift`` is not at least 0 and
        below 2, where no contrast is left, ``jitter`` is negative or not finite, or ``split`` is unknown.

    >>> domains = glyph_shift(examples=32)
    >>> batch = domains.sample(domains.data, jax.random.key(0))
    >>> batch["source"].y.shape, batch["target"].x.shape, batch["target"].y
    ((32,), (32, 28, 28, 1), None)
    """
    check_counts(examples=examples, classes=classes)
    check_counts(0, seed=seed)
    check_drawing(size, jitter, split)
    if not 0 <= shift < 1 / PALER:
        raise ValueError(f"shift must be at least 0 and below {1 / PALER:g}; got {shift}.")
    data = {
        "alphabet": jax.random.key_data(jax.random.split(jax.random.key(seed, impl=GENERATOR), classes)),
        "stream": jnp.asarray(SPLITS.index(split), jnp.int32),
        "shifts": jnp.array([0.0, shift]),
        "jitter": jnp.asarray(jitter, float),
    }

    def sample(data: dict[str, jax.Array], key: jax.Array) -> dict[str, Batch]:
        label_key, drawing_key, grain_key = jax.random.split(jax.random.fold_in(key, data["stream"]), 3)
        labels = jax.random.randint(label_key, (2, examples), 0, classes)
        characters = jax.tree.map(lambda leaf: leaf[labels], jax.vmap(character)(data["alphabet"]))
        deviates = jax.random.uniform(drawing_key, (2, examples, DEVIATES + 3), minval=-1.0, maxval=1.0)
        draw = jax.vmap(jax.vmap(_drawing, (0, 0, None, None, None)), (0, 0, 0, None, None))
        drawn = draw(deviates, characters, data["shifts"], data["jitter"], size)
        grain = jax.random.normal(grain_key, drawn.shape)
        shifts = data["shifts"][:, None, None, None]
        source, target = (DARKER * shifts + (1 - PALER * shifts) * drawn + GRAIN * shifts * grain)[..., None]
        return {"source": Batch(source, labels[0]), "target": Batch(target, None if split == "train" else labels[1])}

    return Sampler(data, sample)


def _drawing(deviates: jax.Array, glyph: Glyph, shift: jax.Array, jitter: jax.Array, size: int) -> jax.Array:
    form, (angle, *middle) = jnp.split(deviates, [DEVIATES])
    drawn = vary(form, glyph, jitter)
    drawn = drawn._replace(pen=drawn.pen * (1 + THICKER * shift))
    return ink(place(drawn, TURN * jitter * angle, EXTENT, MOVE * jitter * jnp.stack(middle)), size)
