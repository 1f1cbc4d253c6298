"""A mean and how far it may be off."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean, or another number made of many, and the half-width of its 95 % confidence interval."""

    mean: float
    half_width: float


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    r"""Estimates a mean with its 95 % interval, :math:`t_{0.975, n-1} \, s / \sqrt{n}`.

    Args:
      values: ``[n]`` independent values; with one that is not finite, neither is the estimate.

    Raises:
      ValueError: if there are fewer than two.
    """
    from scipy.special import stdtrit

    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"values must hold at least two values, [n]; got shape {array.shape}.")
    quantile = float(stdtrit(len(array) - 1, 0.975))
    with np.errstate(invalid="ignore", over="ignore"):
        return Estimate(float(array.mean()), quantile * float(array.std(ddof=1)) / math.sqrt(len(array)))
