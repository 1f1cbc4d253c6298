"""Transfer component analysis (Pan, Tsang, Kwok and Yang, 2011, IEEE Transactions on Neural Networks), equations 6 to 8."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jmeta._options import check_counts, check_positive
from jmeta.transfer._two_domains import Pair, check_domains

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def transfer_component_analysis(
    source: Any, target: Any, *, components: int, kernel: Kernel = lambda x, y: x @ y.T, regularization: float = 1.0
) -> Pair:
    r"""Finds components in the space of a kernel whose means differ little and along which all rows vary much.

    .. math:: \min_W \; \mathrm{tr}(W^\top K L K W) + \mu \, \mathrm{tr}(W^\top W) \quad \text{with} \quad W^\top K H K W = I

    for the kernel :math:`K` of the rows of both domains, :math:`L` whose product with two of them is the squared distance of the
    means of the domains, and the centring :math:`H`. The rows become those of :math:`H K W`.

    Args:
      source: ``[n, d]``.
      target: ``[m, d]``.
      components: how many.
      kernel: ``(x [n, d], y [m, d]) -> [n, m]``, positive semi-definite; linear by default.
      regularization: :math:`\mu`, in the units of the kernel squared.

    Returns:
      ``[n, components]`` and ``[m, components]``, in float64 on the host; each component has mean 0 over both domains and
      a sum of squares of 1, and those beyond the rank of the kernel are 0.

    Raises:
      ValueError: if they are no features of one width, ``components`` is not from 1 to the number of rows, or the regularisation is
        not positive.
    """
    source, target = check_domains(source, target)
    check_counts(components=components)
    check_positive(regularization=regularization)
    rows = np.concatenate([source, target])
    if components > len(rows):
        raise ValueError(f"components must be at most the number of rows; got components={components} and {len(rows)}.")
    gram = np.asarray(kernel(rows, rows), np.float64)
    if gram.shape != (len(rows), len(rows)):
        raise ValueError(f"kernel must give one value for each pair of rows, {(len(rows),) * 2}; got shape {gram.shape}.")
    apart = gram @ np.repeat([1 / len(source), -1 / len(target)], [len(source), len(target)])
    centred = gram - gram.mean(axis=0)
    # K L K + mu I is I, scaled, and one direction more: the root of its inverse is known.
    length = apart @ apart
    shrunk = 1 / np.sqrt(1 + length / regularization) - 1
    direction = apart / np.sqrt(length if length > 0 else 1)
    scaled = centred + shrunk * np.outer(centred @ direction, direction)
    # H K W, without W: by the constraint its columns are orthonormal, and so left singular vectors.
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    kept = values[:components] > len(rows) * np.finfo(np.float64).eps * values[0]
    found = left[:, :components] * kept
    return found[: len(source)], found[len(source) :]
