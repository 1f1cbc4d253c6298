"""Task gradients that are hard to combine, and how they are handed to an aggregator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gradients import SITUATIONS

CASES = list(SITUATIONS)


def rows_of_cases(tasks, parameters=40):
    """Rows ``[cases, tasks, parameters]``, the cases in the order of ``CASES``."""
    return np.stack([draw(np.random.default_rng(7), tasks, parameters) for draw in SITUATIONS.values()])


@functools.cache
def mapped(aggregator):
    def combine(rows, losses, present):
        return aggregator.combine(rows, aggregator.init(len(rows)), losses=losses, present=present, key=None)[0]

    return jax.jit(jax.vmap(combine))


def combine_each(aggregator, rows, dtype=np.float64, present=None, losses=None):
    """Combines each of several sets of rows ``[cases, tasks, parameters]``, each from the first state."""
    cases, tasks, _ = rows.shape
    # As many as there are cases, and no fewer parameters, so that an aggregator is compiled once for a number of tasks.
    given = (
        np.pad(np.asarray(rows, dtype), ((0, 0), (0, 0), (0, 40 - rows.shape[2]))),
        np.ones((cases, tasks), dtype) if losses is None else np.asarray(losses, dtype),
        np.ones((cases, tasks), bool) if present is None else np.asarray(present),
    )
    filled = [np.concatenate([part, np.repeat(part[-1:], len(CASES) - cases, axis=0)]) for part in given]
    return np.asarray(mapped(aggregator)(*map(jnp.asarray, filled)), np.float64)[:cases, : rows.shape[2]]


def distance(found, expected, rows):
    """How far two results are apart, over the length of the second, or over 1e-6 of the longest row where it is shorter."""
    scale = max(np.linalg.norm(expected), 1e-6 * np.linalg.norm(rows, axis=1).max())
    return np.linalg.norm(found - expected) / scale
