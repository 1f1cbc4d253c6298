"""Task gradients that are hard to combine, and how they are handed to an aggregator."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gradients import SITUATIONS

CASES = list(SITUATIONS)


def rows_of_cases(tasks, parameters=12):
    """Rows ``[cases, tasks, parameters]``, the cases in the order of ``CASES``."""
    return np.stack([draw(np.random.default_rng(7), tasks, parameters) for draw in SITUATIONS.values()])


def combine_each(aggregator, rows, dtype=np.float64, present=None, losses=None):
    """Combines each of several sets of rows ``[cases, tasks, parameters]``, each from the first state."""
    cases, tasks, _ = rows.shape
    known = {
        "losses": jnp.ones((cases, tasks), dtype) if losses is None else jnp.asarray(losses, dtype),
        "present": jnp.ones((cases, tasks), bool) if present is None else jnp.asarray(present),
    }

    def combine(rows, losses, present):
        return aggregator.combine(rows, aggregator.init(tasks), losses=losses, present=present, key=None)[0]

    return np.asarray(jax.jit(jax.vmap(combine))(jnp.asarray(rows, dtype), **known), np.float64)


def distance(found, expected, rows):
    """How far two results are apart, over the length of the second, or over 1e-6 of the longest row where it is shorter."""
    scale = max(np.linalg.norm(expected), 1e-6 * np.linalg.norm(rows, axis=1).max())
    return np.linalg.norm(found - expected) / scale
