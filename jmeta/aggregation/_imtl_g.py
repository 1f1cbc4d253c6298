"""Impartial multi-task learning of gradients (Liu et al., 2021, ICLR, "Towards Impartial Multi-task Learning").

For linearly dependent gradients, which the paper leaves out, the equations are solved by least squares, as Quinton and Rey (2024,
2406.16232) do. Theirs are those of the gradients, and long ones count more; here they are those of the unit gradients.
The two are the same where the gradients are independent or equally long.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Aggregator
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._spectrum import power, spectrum


def imtl_g() -> Aggregator:
    r"""Finds the combination of gradients whose projections on all of them are equally long, with weights of sum 1.

    .. math:: \Big\langle \sum_j \alpha_j g_j, \frac{g_i}{|g_i|} \Big\rangle \text{ the same for all } i,
       \qquad \alpha \propto D^{-1} U^{+} 1

    with the cosines :math:`U` and, on the diagonal of :math:`D`, the lengths :math:`|g_i|`. Weights may be negative, and grow
    without end where their sum before scaling nears 0. Where that is 0, and where no direction is nearer to one gradient without
    being farther from another (two that are opposite), the result is 0. A gradient of zeros has no direction and no part.
    Permutation-equivariant.
    """

    def weigh(gramian: jax.Array, state: Any, *, losses: jax.Array, present: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        del losses, key
        rounding = len(gramian) * jnp.finfo(gramian.dtype).eps
        lengths = jnp.sqrt(jnp.diagonal(gramian))
        along = (lengths > 0).astype(gramian.dtype)
        # The pseudo-inverse is that of cosines, so that short gradients are not taken for rounding of long ones.
        inverse = along / jnp.where(lengths > 0, lengths, 1)
        cosines = spectrum(inverse[:, None] * gramian * inverse[None], present)
        coordinates = along @ cosines.vectors
        coordinates = jnp.where(jnp.abs(coordinates) > rounding, coordinates, 0)
        weights = inverse * (cosines.vectors @ (power(cosines, -1) * coordinates))
        total = weights.sum()
        # What a sum of 0 leaves is rounding of an inverse.
        sound = jnp.abs(total) > 64 * rounding * jnp.abs(weights).sum()
        return jnp.where(sound, weights / jnp.where(sound, total, 1), 0), state

    return weighted_by_gramian(weigh)
