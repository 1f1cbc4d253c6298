"""Deep embedded validation (You, Wang, Long and Jordan, 2019, ICML), algorithms 1 and 2."""

from typing import Any

import numpy as np


def deep_embedded_validation(losses: Any, weights: Any) -> float:
    r"""Estimates the risk on the target from losses on held-out examples of the source, weighted by what these count in the target.

    .. math:: \frac{1}{n} \sum_i w_i \ell_i + \eta \left(\frac{1}{n} \sum_i w_i - 1\right), \quad
        \eta = -\frac{\mathrm{Cov}(w \ell, w)}{\mathrm{Var}(w)}

    The second term is 0 in expectation, and the variance least for this :math:`\eta`. Less is better; it may be negative.
    No label of the target is seen, so that a choice by it is none by an oracle.

    Args:
      losses: ``[n]``, of the model on held-out examples of the source: errors, or log-losses.
      weights: ``[n]``, :func:`jmeta.transfer.importance_weights` of their features as the model itself makes them.

    Raises:
      ValueError: if losses or weights are not finite, weights negative, or not one each per example.

    >>> deep_embedded_validation([0.0, 1.0], [1.0, 1.0])
    0.5
    """
    losses, weights = (np.asarray(values, np.float64) for values in (losses, weights))
    if losses.ndim != 1 or not losses.size or losses.shape != weights.shape:
        raise ValueError(f"losses and weights must be one each per example, [n]; got {losses.shape} and {weights.shape}.")
    for name, values in (("losses", losses), ("weights", weights)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite; got {int((~np.isfinite(values)).sum())} values that are NaN or infinite.")
    if (weights < 0).any():
        raise ValueError(f"weights must be at least 0; got {weights.min()}.")
    weighted, around = weights * losses, weights - weights.mean()
    variance = around @ around
    # Weights that are all alike have nothing to correct.
    slope = -(around @ weighted) / variance if variance > 0 else 0.0
    return float(weighted.mean() + slope * (weights.mean() - 1))
