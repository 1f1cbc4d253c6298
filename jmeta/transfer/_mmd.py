"""Maximum mean discrepancy with several kernels: deep adaptation networks (Long et al., 2015, 1502.02791), equations 1 and 2.

The widths are those of the Transfer-Learning-Library, which takes the estimate without the diagonal: that of one row is undefined,
and may be negative. The paper learns what each kernel counts; here, as there, all count alike.
"""

from collections.abc import Sequence

import jax

from jmeta.transfer._alignment import Alignment, Domain, Strength, alignment_by
from jmeta.transfer._kernels import WIDTHS, check_widths, discrepancy, gaussian_kernels


def mmd(*, widths: Sequence[float] = WIDTHS, strength: Strength = 1.0) -> Alignment:
    r"""Draws the means of the features in the space of several Gaussian kernels together.

    .. math:: \lambda \lVert \mathbb{E}\, \phi(x^s) - \mathbb{E}\, \phi(x^t) \rVert^2, \quad
        \langle \phi(x), \phi(y) \rangle = \sum_u \exp\left(-\frac{|x - y|^2}{2 u m}\right)

    with :math:`m`, a constant to the gradient, the mean squared distance of all pairs of rows of both domains. It is never
    negative, and 0 for equal domains.

    Args:
      widths: :math:`u`, one for each kernel.
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.

    Raises:
      ValueError: if there is no width, or one is not positive.
    """
    check_widths(widths)

    def distance(source: Domain, target: Domain) -> jax.Array:
        return discrepancy(gaussian_kernels(source, target, widths), source, target)

    return alignment_by(distance, strength)
