"""Gradients of several tasks that are hard to combine, and what they combine to, by NumPy and SciPy from the gradients themselves.

Nothing here uses jax, and no method is that of the library, which sees products of gradients only. Formulas are computed by loops,
singular values and least squares, problems are solved by SciPy. ``None`` is where there is no solution.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq, minimize, nnls

Rows = np.ndarray  # [tasks, parameters]


def random(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    return generator.normal(size=(tasks, parameters))


def zero(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    return random(generator, tasks, parameters) * (np.arange(tasks) != tasks // 2)[:, None]


def equal(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    rows = random(generator, tasks, parameters)
    rows[-1] = rows[0]
    return rows


def opposite(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    rows = random(generator, tasks, parameters)
    rows[-1] = -rows[0]
    return rows


def nearly_parallel(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    """At angles of about 1e-3 to one another."""
    rows = random(generator, tasks, parameters)
    return rows[:1] + 1e-3 * rows * (np.arange(tasks) > 0)[:, None]


def of_all_lengths(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    """Of lengths from 1 to 1e4."""
    rows = random(generator, tasks, parameters)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.logspace(0, 4, tasks)[:, None]


def in_conflict(generator: np.random.Generator, tasks: int, parameters: int) -> Rows:
    """All of them against nearly all others."""
    rows = random(generator, tasks, parameters)
    return rows - 0.9 * rows.mean(axis=0)


SITUATIONS: dict[str, Callable[[np.random.Generator, int, int], Rows]] = {
    "random": random,
    "a zero": zero,
    "two equal": equal,
    "two opposite": opposite,
    "nearly parallel": nearly_parallel,
    "lengths 1 to 1e4": of_all_lengths,
    "in conflict": in_conflict,
}


def nearest_to_zero(rows: Rows) -> np.ndarray:
    """Finds the weights of the shortest vector in the convex hull, by Lawson and Hanson's non-negative least squares."""
    scale = np.median(np.linalg.norm(rows, axis=1)) or 1.0
    found, _ = nnls(np.vstack([rows.T / scale, np.ones(len(rows))]), np.append(np.zeros(rows.shape[1]), 1.0), maxiter=10_000)
    return found / found.sum()


def mgda(rows: Rows) -> np.ndarray:
    return nearest_to_zero(rows) @ rows


def projected(rows: Rows, gradient: np.ndarray) -> np.ndarray:
    """Projects a gradient onto the directions that conflict with no row."""
    lengths = np.linalg.norm(rows, axis=1)
    units = rows[lengths > 0] / lengths[lengths > 0, None]
    size = np.linalg.norm(gradient)
    return gradient + size * (nnls(units.T, -gradient / size, maxiter=10_000)[0] @ units) if size else gradient


def upgrad(rows: Rows) -> np.ndarray:
    return np.mean([projected(rows, row) for row in rows], axis=0)


def dual_projection(rows: Rows) -> np.ndarray:
    return projected(rows, rows.mean(axis=0))


def cagrad(rows: Rows, c: float = 0.5) -> np.ndarray:
    """Without rescaling: the shortest vector in the hull of the rows moved by x times their mean, for the x at which it fits."""
    mean = rows.mean(axis=0)
    reach = c * np.linalg.norm(mean)
    if reach < 1e-12 * np.abs(rows).max():
        return mean

    def away(x: float) -> np.ndarray:
        return nearest_to_zero(rows + x * mean) @ rows / x

    low, high = np.log(1e-7), np.log(1e7)
    if np.linalg.norm(away(np.exp(low))) < reach:
        # Some rows cancel: all that can be had is to conflict with none.
        return dual_projection(rows)
    root = brentq(lambda x: np.log(np.linalg.norm(away(np.exp(x))) / reach), low, high, xtol=1e-14, rtol=1e-14)
    found = away(np.exp(root))
    return mean + reach * found / np.linalg.norm(found)


def bargain(rows: Rows, alpha: float) -> np.ndarray | None:
    """Solves ``G a = a^(-1 / alpha)`` for the rows that are not zero, in logarithms of the shares, by a trust-region method."""
    lengths = np.linalg.norm(rows, axis=1)
    rows, lengths = rows[lengths > 0], lengths[lengths > 0]
    if not len(rows) or np.linalg.norm(mgda(rows / lengths[:, None])) < 1e-9:
        return None
    cosines, demands = (rows / lengths[:, None]) @ (rows / lengths[:, None]).T, (lengths / lengths.max()) ** (1 / alpha - 1)

    def value(x: np.ndarray) -> float:
        shares = np.exp(x)
        pulls = x if alpha == 1 else shares ** (1 - 1 / alpha) / (1 - 1 / alpha)
        return shares @ cosines @ shares / 2 - demands @ pulls

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.exp(x) * (cosines @ np.exp(x)) - demands * np.exp(x) ** (1 - 1 / alpha)

    def hessian(x: np.ndarray) -> np.ndarray:
        shares = np.exp(x)
        bent = shares * (cosines @ shares) - (1 - 1 / alpha) * demands * shares ** (1 - 1 / alpha)
        return shares[:, None] * cosines * shares + np.diag(bent)

    options = {"gtol": 1e-11, "maxiter": 1000}
    found = minimize(value, np.zeros(len(rows)), method="trust-exact", jac=gradient, hess=hessian, options=options).x
    for _ in range(5):
        found = found - np.linalg.lstsq(hessian(found), gradient(found), rcond=None)[0]
    power = (1 / alpha - 1) / (1 / alpha + 1)
    return lengths.max() ** power * np.exp(found) / lengths @ rows


def nash_mtl(rows: Rows) -> np.ndarray | None:
    """Scaled as the authors do, and cut to length 1."""
    found = bargain(rows, 1.0)
    if found is None:
        return None
    found = found * np.sqrt(np.linalg.norm(rows @ rows.T))
    return found / max(1.0, np.linalg.norm(found))


def fairgrad(rows: Rows) -> np.ndarray | None:
    return bargain(rows, 2.0)


def pcgrad(rows: Rows) -> np.ndarray:
    """Projects each row, away from the others in their order where they conflict."""
    return sum(one_projected(rows, index) for index in range(len(rows)))


def one_projected(rows: Rows, index: int) -> np.ndarray:
    gradient = rows[index]
    for other in np.delete(np.arange(len(rows)), index):
        product = gradient @ rows[other]
        gradient = gradient - (product / (rows[other] @ rows[other]) * rows[other] if product < 0 else 0)
    return gradient


def gradvac(history: Sequence[Rows]) -> np.ndarray:
    """Turns rows to the cosines that they had before, at a rate of 0.5; a row of zeros, or that surgery left none of, has none."""
    targets = np.zeros((len(history[0]), len(history[0])))
    turned = np.zeros_like(history[0])
    for rows in history:
        turned, lengths = rows.copy(), np.linalg.norm(rows, axis=1)
        for index, other in ((one, two) for one in range(len(rows)) for two in range(len(rows)) if one != two):
            length = np.linalg.norm(turned[index])
            if lengths[other] == 0 or length <= 1e-12 * lengths[index]:
                continue
            cosine = np.clip(turned[index] @ rows[other] / (length * lengths[other]), -1, 1)
            target = targets[index, other]
            if cosine < target:
                sines = np.sqrt((1 - cosine**2) / (1 - target**2))
                turned[index] += length / lengths[other] * (target * sines - cosine) * rows[other]
            targets[index, other] = (target + cosine) / 2
    return turned.sum(axis=0)


def graddrop(rows: Rows, draws: np.ndarray) -> np.ndarray:
    positive = (1 + rows.sum(axis=0) / np.abs(rows).sum(axis=0)) / 2 > draws
    return np.where(positive, np.maximum(rows, 0).sum(axis=0), np.minimum(rows, 0).sum(axis=0))


def imtl_g(rows: Rows) -> np.ndarray:
    """Solves by least squares for a vector as long along every row, and for its parts in them, which are brought to sum 1."""
    lengths = np.linalg.norm(rows, axis=1)
    units = rows[lengths > 0] / lengths[lengths > 0, None]
    even = np.linalg.lstsq(units, np.ones(len(units)), rcond=None)[0]
    parts = np.linalg.lstsq(units.T, even, rcond=None)[0] / lengths[lengths > 0]
    # Of two opposite rows alone nothing is as long along both.
    return even / parts.sum() if np.linalg.norm(even) > 1e-8 else 0 * even


def aligned_mtl(rows: Rows) -> np.ndarray:
    """Makes all singular values the least, then averages the rows."""
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    kept = values > np.sqrt(len(rows) * np.finfo(float).eps) * values[0]
    return values[kept][-1] * left[:, kept].mean(axis=0) @ right[kept]


def cr_mogm(history: Sequence[Rows]) -> np.ndarray:
    """Smooths the weights of :func:`pcgrad`, found by least squares, by 0.9."""
    weights = np.zeros(len(history[0]))
    for index, rows in enumerate(history):
        found = np.linalg.lstsq(rows.T, pcgrad(rows), rcond=None)[0]
        weights = 0.9 * weights + 0.1 * found if index else found
    return weights @ history[-1]


OF_ROWS: dict[str, Callable[[Rows], np.ndarray | None]] = {
    "pcgrad": pcgrad,
    "imtl_g": imtl_g,
    "aligned_mtl": aligned_mtl,
    "mgda": mgda,
    "upgrad": upgrad,
    "dual_projection": dual_projection,
    "cagrad": cagrad,
    "nash_mtl": nash_mtl,
    "fairgrad": fairgrad,
}


def exact(name: str, history: Sequence[Rows], draws: np.ndarray) -> np.ndarray | None:
    """Finds what an aggregator should make of the last of the gradients of several steps."""
    if name == "graddrop":
        return graddrop(history[-1], draws)
    return {"gradvac": gradvac, "cr_mogm": cr_mogm}[name](history) if name in REMEMBERING else OF_ROWS[name](history[-1])


# What they make of gradients depends on those of earlier steps.
REMEMBERING = ("gradvac", "cr_mogm")
