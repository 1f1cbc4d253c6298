"""The minima that ``benchmarks.school`` trains towards, by NumPy: closed forms, and a proximal method for the trace norm.

All are of half the sum of squared errors plus ``strength`` times a penalty on the weights of the schools.
"""

from typing import NamedTuple

import numpy as np

import jmeta

PROXIMAL_STEPS, TOLERANCE = 3000, 1e-8


class Products(NamedTuple):
    """What the sum of squared errors depends on.

    Attributes:
      inputs: ``[schools, inputs, inputs]``, of the inputs with each other, summed over pupils.
      targets: ``[schools, inputs]``, of inputs and targets.
    """

    inputs: np.ndarray
    targets: np.ndarray


def products_of(pupils: jmeta.Batch) -> Products:
    """Sums over the pupils of each school, leaves ``[schools, pupils, ...]``."""
    x, y = np.asarray(pupils.x) * np.asarray(pupils.real)[..., None], np.asarray(pupils.y)
    return Products(np.einsum("spi,spj->sij", x, x), np.einsum("spi,sp->si", x, y))


def largest_curvature(products: Products, rows: int) -> float:
    """Gives the most of the second derivative of half the sum, for weights of each school or of all."""
    inputs = products.inputs if rows > 1 else products.inputs.sum(axis=0, keepdims=True)
    return float(np.linalg.eigvalsh(inputs).max())


def ridge(products: Products, strength: float) -> np.ndarray:
    """Each school alone, with half the squared weights."""
    inputs = products.inputs + strength * np.eye(products.inputs.shape[1])
    return np.linalg.solve(inputs, products.targets[..., None])[..., 0]


def pooled(products: Products, strength: float) -> np.ndarray:
    """All schools as one, likewise."""
    together = Products(*(values.sum(axis=0, keepdims=True) for values in products))
    return ridge(together, strength)


def to_the_mean(products: Products, strength: float) -> np.ndarray:
    """Half the squared distances from the mean of the schools' weights (Evgeniou and Pontil, 2004, with their mu at 0).

    Given the mean m, a school's weights are ``(A + strength)^-1 (b + strength m)``; that their mean is m is a linear system.
    """
    size = products.inputs.shape[1]
    inverse = np.linalg.inv(products.inputs + strength * np.eye(size))
    alone = np.einsum("sij,sj->si", inverse, products.targets)
    # Two inputs may add up to a third, and the mean then has a direction that nothing depends on.
    mean = np.linalg.lstsq(np.eye(size) - strength * inverse.mean(axis=0), alone.mean(axis=0), rcond=1e-10)[0]
    return alone + strength * inverse @ mean


def trace_norm(products: Products, strength: float) -> np.ndarray:
    """The sum of singular values, by accelerated proximal gradient steps (Ji and Ye, 2009)."""
    rate = 1 / largest_curvature(products, len(products.inputs))
    weights = ahead = np.zeros_like(products.targets)
    pace = 1.0
    for _ in range(PROXIMAL_STEPS):
        gradient = np.einsum("sij,sj->si", products.inputs, ahead) - products.targets
        left, values, right = np.linalg.svd(ahead - rate * gradient, full_matrices=False)
        moved = (left * np.maximum(values - rate * strength, 0)) @ right
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = moved + (pace - 1) / faster * (moved - weights)
        change = np.abs(moved - weights).max()
        weights, pace = moved, faster
        if change < TOLERANCE:
            break
    return weights
