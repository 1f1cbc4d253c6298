"""Character-like drawings: what makes a character, how two drawings of it differ, and how strokes become an image.

Lengths are fractions of the image's side; points are (x, y) from the middle of the image, x to the right and y downwards.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._options import check_counts

SPLITS = ("train", "validation", "test")
# Characters follow from their numbers alone, whichever generator the caller has chosen for the drawings.
GENERATOR = "threefry2x32"
FEWEST_STROKES, MOST_STROKES, MARKS = 2, 4, 32
# The standard deviation of the pen's mark, and how much ink it leaves: a line is then 0.95 dark and, at half ink, 3.4 pens wide.
PEN, INK = 0.024, 3.0
# How much the drawings of a character differ at most, to either side, and how many deviates say how.
WOBBLE, STRETCH, SHEAR, THICKNESS = 0.08, 0.18, 0.22, 0.2
DEVIATES = MOST_STROKES * 8 + 4


class Glyph(NamedTuple):
    """A character, or one drawing of it.

    Attributes:
      controls: ``[strokes, 4, 2]`` control points of cubic Bezier curves.
      drawn: ``[strokes]``, 1 for the strokes that there are and 0 for the others.
      pen: the standard deviation of the pen's mark.
    """

    controls: jax.Array
    drawn: jax.Array
    pen: jax.Array


def check_drawing(size: int, jitter: float, split: str) -> None:
    """Checks what all samplers of drawings are given.

    Raises:
      ValueError: naming what is wrong.
    """
    check_counts(8, size=size)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    if not 0 <= jitter < math.inf:
        raise ValueError(f"jitter must be finite and at least 0; got {jitter}.")


def character(words: jax.Array) -> Glyph:
    """Makes up the character of two numbers ``[2]``: 2 to 4 strokes that fill the unit square, most beginning on the one before."""
    # One call of the generator compiles several times as fast as one for each kind of number; in float64 it would draw others.
    uniform = jax.random.uniform(jax.random.wrap_key_data(words, impl=GENERATOR), (MOST_STROKES, 11), jnp.float32).astype(float)
    ends, bends, kinds, joints, count = jnp.split(uniform, [4, 6, 8, 10], axis=1)
    joined = (joints[:, 0] < 0.6) & (jnp.arange(MOST_STROKES) > 0)

    def follow(before: jax.Array, stroke: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        (free, end), bend, kind, joined, where = stroke
        # The beginning, the middle or the end of the stroke before.
        joint = (jnp.asarray(_bezier(3), free.dtype) @ before)[(3 * where).astype(int)]
        controls = _stroke(jnp.where(joined, joint, free), end, bend, kind)
        return controls, controls

    parts = ends.reshape(-1, 2, 2) - 0.5, 2 * bends - 1, kinds, joined, joints[:, 1]
    _, controls = jax.lax.scan(follow, jnp.zeros((4, 2), uniform.dtype), parts)
    drawn = jnp.arange(MOST_STROKES) < FEWEST_STROKES + ((MOST_STROKES - FEWEST_STROKES + 1) * count[0, 0]).astype(int)
    curves, there = _curves(controls), drawn[:, None, None]
    low, high = jnp.where(there, curves, 1e3).min((0, 1)), jnp.where(there, curves, -1e3).max((0, 1))
    controls = (controls - ((low + high) / 2)[None, None]) / (high - low).max()
    return Glyph(controls, drawn.astype(controls.dtype), jnp.asarray(PEN, controls.dtype))


def vary(deviates: jax.Array, glyph: Glyph, jitter: jax.Array) -> Glyph:
    """Draws a character by hand: its control points, proportions, slant and pen a little off, about the same middle.

    Args:
      deviates: ``[DEVIATES]`` numbers between -1 and 1.
      glyph: the character.
      jitter: what they are multiplied by.
    """
    wobble, (width, height, slant, thickness) = jnp.split(jitter * deviates, [DEVIATES - 4])
    right, down = jnp.exp(STRETCH * width), jnp.exp(STRETCH * height)
    form = jnp.stack([right, SHEAR * slant, jnp.zeros_like(down), down]).reshape(2, 2)
    controls = (glyph.controls + WOBBLE * wobble.reshape(glyph.controls.shape)) @ form.T
    return glyph._replace(controls=controls, pen=glyph.pen * jnp.exp(THICKNESS * thickness))


def place(glyph: Glyph, angle: jax.Array, extent: float, middle: jax.Array) -> Glyph:
    """Turns a drawing clockwise by ``angle`` (radians), makes it ``extent`` high, and puts it at ``middle [2]``."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([cosine, -sine, sine, cosine]).reshape(2, 2)
    return glyph._replace(controls=extent * glyph.controls @ turn.T + middle[None, None])


def ink(glyph: Glyph, size: int) -> jax.Array:
    r"""Draws a glyph, ``[size, size]`` with ink 1 on 0, smooth at the edges.

    The darkness is :math:`1 - e^{-3 \rho}`, where :math:`\rho` is the integral of the pen's Gaussian mark along all strokes, 1 on a
    long straight line. A mark is the product of a row and a column, so that the sum over all of them is one matrix product.
    """
    curves = _curves(glyph.controls)
    steps = curves[:, 1:] - curves[:, :-1]
    marks = ((curves[:, 1:] + curves[:, :-1]) / 2).reshape(-1, 2)
    # A pen that is narrower than this passes between the pixels.
    pen = jnp.maximum(glyph.pen, 0.5 / size)
    lengths = jnp.sqrt(jnp.square(steps).sum(-1)) * glyph.drawn[:, None]
    pixels = (np.arange(size) + 0.5) / size - 0.5
    # The layout that a product of matrices takes without transposing.
    columns = jnp.exp(-jnp.square((marks[:, :1] - pixels[None]) / pen) / 2)
    rows = jnp.exp(-jnp.square((marks.T[1:] - pixels[:, None]) / pen) / 2)
    amounts = INK * lengths.reshape(1, -1) / (pen * math.sqrt(2 * math.pi))
    return -jnp.expm1(-(rows * amounts) @ columns)


def _stroke(start: jax.Array, end: jax.Array, bend: jax.Array, kind: jax.Array) -> jax.Array:
    """Gives the control points of a stroke that is not too short: nearly straight, an arc, or an S."""
    gap = end - start
    length = jnp.sqrt(jnp.square(gap).sum())
    gap = gap * jnp.maximum(1, 0.6 / jnp.maximum(length, 1e-3))
    normal = jnp.stack([-gap[1], gap[0]])
    bend = jnp.where(kind[0] < 0.3, 0.14, 1.0) * jnp.where(kind[1] < 0.6, bend[0], bend)
    return jnp.stack([start, start + gap / 3 + bend[0] * normal, start + 2 * gap / 3 + bend[1] * normal, start + gap])


def _curves(controls: jax.Array) -> jax.Array:
    """Gives ``[strokes, MARKS + 1, 2]`` points along each stroke."""
    return jnp.asarray(_bezier(MARKS + 1), controls.dtype)[None] @ controls


def _bezier(points: int) -> np.ndarray:
    """Gives the weights ``[points, 4]`` of the control points along a curve, from its beginning to its end."""
    t = np.linspace(0, 1, points)
    # A bent curve is up to three times as fast at its ends as in its middle: this evens out the distances.
    t = t - np.sin(2 * np.pi * t) / (4 * np.pi)
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
