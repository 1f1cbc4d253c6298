"""Functions of several kinds (Vuorio, Sun, Hu and Lim, 2019, 1910.13616), section 5.1 and the authors' code."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jmeta._types import Sampler
from jmeta.tasks._functions import INPUTS, functions, uniform

MODES = ("absolute", "line", "parabola", "sinusoid")
# The authors' intervals; curvatures have either sign.
INTERVALS = {
    "amplitude": (0.1, 5.0),
    "phase": (0.0, math.pi),
    "slope": (-3.0, 3.0),
    "centre": (-3.0, 3.0),
    "offset": (-3.0, 3.0),
    "curvature": (0.02, 0.15),
    "x": INPUTS,
}


def multimodal(*, shots: int = 10, queries: int = 10, modes: Sequence[str] = MODES, noise: float = 0.0) -> Sampler:
    r"""Draws a kind of function, all with the same chance, and then a function of that kind.

    With everything uniform: :math:`A \sin(x - \varphi)`, A from 0.1 to 5, phase from 0 to pi radians; the line
    :math:`s x + b`; the parabola :math:`\pm a (x - c)^2 + b`, a from 0.02 to 0.15; and :math:`s |x - c| + b`; slope s, centre c
    and offset b from -3 to 3, x from -5 to 5. The authors have noise of 0.3, and the hyperbolic tangent as a fifth kind.

    Args:
      shots: support examples, ``[shots, 1]``.
      queries: query examples, ``[queries, 1]``.
      modes: kinds to draw from.
      noise: standard deviation of what is added to every target.

    Raises:
      ValueError: if ``shots`` or ``queries`` is no whole number of at least 1, a mode is unknown or there is none, or ``noise`` is
        negative.

    >>> import jax
    >>> lines = multimodal(shots=2, queries=1, modes=["line"])
    >>> lines.sample(lines.data, jax.random.key(0)).support.y.shape
    (2, 1)
    """
    if isinstance(modes, str) or not modes or set(modes) - set(MODES):
        raise ValueError(f"modes must be a sequence of some of {', '.join(MODES)}; got {modes!r}.")
    kept = jnp.array([MODES.index(mode) for mode in modes])

    def draw(data: dict[str, jax.Array], key: jax.Array, x: jax.Array) -> jax.Array:
        mode_key, sign_key, *keys = jax.random.split(key, 8)
        drawn = {name: uniform(one, (), data[name]) for name, one in zip(INTERVALS, keys, strict=False)}
        away, curvature = x - drawn["centre"], jax.random.rademacher(sign_key, ()) * drawn["curvature"]
        kinds = [
            drawn["slope"] * jnp.abs(away) + drawn["offset"],
            drawn["slope"] * x + drawn["offset"],
            curvature * away**2 + drawn["offset"],
            drawn["amplitude"] * jnp.sin(x - drawn["phase"]),
        ]
        return jnp.stack(kinds)[jax.random.choice(mode_key, kept)]

    return functions(draw, INTERVALS, shots=shots, queries=queries, noise=noise)
