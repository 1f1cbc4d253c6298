"""What the closed forms share: the features of two domains on the host, in float64, and what is computed of them."""

from typing import Any

import numpy as np

from jmeta._options import check_counts

Pair = tuple[np.ndarray, np.ndarray]


def check_domains(source: Any, target: Any, components: int | None = None) -> Pair:
    """Checks the features of two domains, and gives them in float64.

    Raises:
      ValueError: if they are not finite arrays ``[n, d]`` and ``[m, d]`` of at least one row each, or ``components`` is more than
        ``d``.
    """
    one, other = (check_features(name, values) for name, values in (("source", source), ("target", target)))
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"source and target must have as many features; got {one.shape[1]} and {other.shape[1]}.")
    check_counts(components=components)
    if components is not None and components > one.shape[1]:
        raise ValueError(f"components must be at most the number of features; got components={components} and {one.shape[1]}.")
    return one, other


def check_features(name: str, values: Any) -> np.ndarray:
    """Checks features, and gives them in float64.

    Raises:
      ValueError: if they are not a finite array ``[n, d]`` of at least one row and one feature.
    """
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{name} must hold features [n, d] of at least one row; got shape {found.shape}.")
    if wrong := int((~np.isfinite(found)).sum()):
        raise ValueError(f"{name} must be finite; got {wrong} values that are NaN or infinite.")
    return found


def principal_directions(rows: np.ndarray, components: int | None = None) -> np.ndarray:
    """Gives orthonormal directions ``[d, components]`` of rows, those of largest variance first; all ``d`` of them by default.

    Where rows vary along fewer directions the others are any that are orthogonal.
    """
    # All d directions are right singular vectors of the reduced form already where there are as many rows.
    right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=len(rows) < rows.shape[1])[2]
    return right[:components].T
