"""An aggregator under trial: the steps that it is tried on, and how two results are compared."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._trials import check_close
from jmeta._types import Aggregator

TASKS = 4
SIZE = 7
STEPS = 3
# How many histories run in one program, one after another.
HISTORIES = 32
# How many keys an expectation is taken over, and how many of its standard errors are chance.
KEYS = 256
CHANCE = 6.0


class History(NamedTuple):
    """Three steps, on the host.

    Attributes:
      rows: the gradients, ``[steps, tasks, size]``.
      losses: ``[steps, tasks]``, 0 where a task is absent.
      present: ``[steps, tasks]``.
      seeds: of the keys, ``[steps]``.
    """

    rows: np.ndarray
    losses: np.ndarray
    present: np.ndarray
    seeds: np.ndarray


class Trial(NamedTuple):
    """Attributes: the aggregator, whether it ``draws``, and the ``tolerance`` between equal quantities."""

    aggregator: Aggregator
    draws: bool
    tolerance: float


def history(rows: np.ndarray, *, present: np.ndarray | None = None) -> History:
    """Makes a history of gradients ``[steps, tasks, size]``, in which absent tasks have none."""
    present = np.ones(rows.shape[:2], bool) if present is None else present
    losses = np.random.default_rng(0).uniform(0.5, 2, size=rows.shape[:2]) * present
    return History(rows * present[..., None], losses, present, np.arange(STEPS))


def of_tasks(known: History, tasks: Any) -> History:
    """Takes some tasks out of all steps, or takes them in another order."""
    return known._replace(rows=known.rows[:, tasks], losses=known.losses[:, tasks], present=known.present[:, tasks])


def of_steps(known: History, *steps: int) -> History:
    """Takes steps in another order, each with its key."""
    return History(*(part[list(steps)] for part in known))


def random_rows(seed: int = 0, *, tasks: int = TASKS) -> np.ndarray:
    """Draws gradients ``[steps, tasks, size]`` some of which conflict."""
    rows = np.random.default_rng(seed).normal(size=(STEPS, TASKS, SIZE))
    rows[:, 2] -= 2 * rows[:, 0]
    return rows[:, :tasks]


def in_leaves(rows: Any) -> Any:
    """Divides gradients ``[tasks, size]`` into leaves of several shapes."""
    return {"a": rows[:, :1], "b": [rows[:, 1:5].reshape(len(rows), 2, 2), rows[:, 5:]]}


def whole(rows: Any) -> Any:
    """Leaves gradients ``[tasks, size]`` in one leaf."""
    return [rows]


def of_types(rows: Any) -> Any:
    """Divides gradients into leaves of several types."""
    leaves = in_leaves(rows)
    narrow = leaves["b"][0].astype(jnp.bfloat16)
    return {"a": leaves["a"].astype(jnp.float32), "b": [narrow, leaves["b"][1].astype(jnp.float32)]}


def joined(tree: Any) -> jax.Array:
    """Puts the leaves of a combined gradient into one row ``[size]``."""
    return jnp.concatenate([leaf.astype(float).ravel() for leaf in jax.tree.leaves(tree)])


def run(trial: Trial, histories: list[History], divide: Callable[[Any], Any] = in_leaves) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gives the combined gradients ``[histories, steps, size]`` and the leaves of the states ``[histories, steps, ...]``."""
    filled = histories + histories[-1:] * (-len(histories) % HISTORIES)
    found = []
    for start in range(0, len(filled), HISTORIES):
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *filled[start : start + HISTORIES])
        stacked = stacked._replace(rows=stacked.rows.astype(jnp.result_type(float)))
        found.append(jax.device_get(_run(trial.aggregator, divide, stacked)))
    results, *states = [np.concatenate(parts)[: len(histories)] for parts in zip(*map(jax.tree.leaves, found), strict=True)]
    return results, states


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(aggregator: Aggregator, divide: Callable[[Any], Any], histories: History) -> tuple[jax.Array, Any]:
    def one(known: History) -> tuple[jax.Array, Any]:
        def step(state: Any, now: History) -> tuple[Any, tuple[jax.Array, Any]]:
            given = {"losses": now.losses, "present": now.present, "key": jax.random.key(now.seeds)}
            gradient, state = aggregator.combine(divide(now.rows), state, **given)
            return state, (joined(gradient), state)

        return jax.lax.scan(step, aggregator.init(known.rows.shape[1]), known)[1]

    return jax.lax.map(one, histories)


def check_equal(trial: Trial, got: np.ndarray, expected: np.ndarray, promise: str) -> None:
    check_close(got, expected, trial.tolerance, promise)


def check_alike(trial: Trial, got: History, expected: History, promise: str, *, divide: Callable[[Any], Any] = in_leaves) -> None:
    """Compares the combined gradients of two histories in all steps, those of an aggregator that draws in expectation."""
    if not trial.draws:
        check_equal(trial, run(trial, [got], divide)[0][0], run(trial, [expected])[0][0], promise)
        return
    one, other = _expected(trial, got, divide), _expected(trial, expected, in_leaves, first=KEYS)
    limit = CHANCE * np.sqrt(one[1] + other[1]) + trial.tolerance * (1 + np.abs(other[0]))
    excess = np.abs(one[0] - other[0]) / limit
    if not (excess <= 1).all():
        raise ValueError(f"{promise}; got means over {KEYS} keys that differ by {excess.max() * CHANCE:.3g} standard errors.")


def _expected(trial: Trial, known: History, divide: Callable[[Any], Any], *, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gives means ``[steps, size]`` over keys, and their squared standard errors."""
    drawn = [known._replace(seeds=known.seeds + STEPS * (first + at)) for at in range(KEYS)]
    results, _ = run(trial, drawn, divide)
    return results.mean(axis=0), results.var(axis=0) / KEYS
