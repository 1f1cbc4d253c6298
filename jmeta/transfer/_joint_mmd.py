"""Joint adaptation networks (Long, Zhu, Wang and Jordan, 2017, 1605.06636), equations 8 and 9.

The width of the kernel of the predictions is that of the Transfer-Learning-Library, 0.92, as in the authors' code, which writes it
1.68, twice its square.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jmeta._distances import squared_distances
from jmeta._options import check_positive
from jmeta.transfer._alignment import Alignment, Domain, Strength, alignment_by, logits
from jmeta.transfer._kernels import WIDTHS, check_widths, discrepancy, gaussian_kernels


def joint_mmd(*, widths: Sequence[float] = WIDTHS, output_width: float = 0.92, strength: Strength = 1.0) -> Alignment:
    r"""Draws the joint distributions of features and predictions together.

    As :func:`jmeta.transfer.mmd`, of the product of two kernels: that of the features, and

    .. math:: \exp\left(-\frac{|p - q|^2}{2 \sigma^2}\right)

    of the probabilities that the head gives.

    Args:
      widths: of the kernels of the features, in mean squared distances.
      output_width: :math:`\sigma`, in probabilities.
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.

    Raises:
      ValueError: if a width is not positive; from the loss, if the outputs are no logits.
    """
    check_widths(widths)
    check_positive(output_width=output_width)

    def distance(source: Domain, target: Domain) -> jax.Array:
        guesses = jax.nn.softmax(jnp.concatenate([logits(source), logits(target)]))
        of_guesses = jnp.exp(-squared_distances(guesses, guesses) / (2 * output_width**2))
        return discrepancy(gaussian_kernels(source, target, widths) * of_guesses, source, target)

    return alignment_by(distance, strength)
