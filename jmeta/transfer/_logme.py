"""LogME: the maximised log evidence (You, Liu, Wang and Long, 2021, 2102.11005), by the fixed point of its sequel (2110.10545).

The iteration is that of the authors' code, its start, its 1e-5 and its end included. That code leaves the directions in which
features do not vary out of the determinant but not out of the prior, which raises the evidence wherever there are more features
than examples; here it is that of the paper.
"""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import columns_of, same_rows
from jmeta.transfer._two_domains import check_features


def logme(features: Any, targets: Any) -> float:
    r"""Says how well features explain targets: the log evidence per example of a Bayesian linear model, the mean over the targets.

    .. math:: \frac{1}{n} \max_{\alpha, \beta} \log p(y \mid F, \alpha, \beta), \quad
        y \sim \mathcal{N}(F w, \beta^{-1} I), \quad w \sim \mathcal{N}(0, \alpha^{-1} I)

    Of classes each is a target, 1 for its examples and 0 for the others. More is better; only numbers for the same targets compare.

    Args:
      features: ``[n, d]``, what a pretrained encoder makes of the examples of the task.
      targets: ``[n]`` integer labels, or ``[n]`` or ``[n, outputs]`` numbers.

    Raises:
      ValueError: if features or targets are not finite, or not as many rows.
    """
    features = check_features("features", features)
    answers = columns_of(same_rows(features, targets))
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    kept = values > max(features.shape) * np.finfo(np.float64).eps * values[0]
    projected, squares = left[:, kept].T @ answers, values[kept] ** 2
    beyond = (answers**2).sum(axis=0) - (projected**2).sum(axis=0)
    pairs = zip(projected.T**2, np.maximum(beyond, 0), strict=True)
    return float(np.mean([_evidence(squares, seen, unseen, len(features)) for seen, unseen in pairs]))


def _evidence(squares: np.ndarray, seen: np.ndarray, unseen: float, rows: int) -> float:
    """Maximises the evidence of one target, ``seen`` along the left singular vectors and ``unseen`` by all of them together."""
    alpha = beta = 1.0
    weights = residual = 0.0
    for _ in range(11):
        ratio = alpha / beta
        effective = (squares / (squares + ratio)).sum()
        weights = (squares * seen / (ratio + squares) ** 2).sum()
        residual = (seen / (1 + squares / ratio) ** 2).sum() + unseen
        alpha, beta = effective / (weights + 1e-5), (rows - effective) / (residual + 1e-5)
        if abs(alpha / beta - ratio) <= 1e-3 * ratio:
            break
    # Where features do not vary, the prior of a weight is its posterior.
    log_determinant = np.log1p(beta * squares / alpha).sum()
    fit = beta * residual + alpha * weights + log_determinant
    return 0.5 * (np.log(beta / (2 * np.pi)) - fit / rows)
