"""Which tasks to train together: the network selection of Fifty et al. (2021, 2109.04617, section 3.3)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jmeta._named import check_matrix

LARGEST = 15


class Grouping(NamedTuple):
    """Tasks in groups, each group one network.

    Attributes:
      groups: the names of each network's tasks, in the order of the names.
      served_by: by name, the number of the group whose network a task is taken from; in others it only helps.
      affinity: by name, the mean affinity onto a task of the others in the group that serves it.
    """

    groups: tuple[tuple[str, ...], ...]
    served_by: dict[str, int]
    affinity: dict[str, float]


def group_tasks(affinity: Any, names: Sequence[str], *, groups: int, overlap: bool = True, alone: float = -math.inf) -> Grouping:
    r"""Chooses which tasks to train together, so that the affinity onto each task is as high as it can be.

    .. math:: \max_{S_1, \dots, S_m} \sum_j \max_{S_k \ni j} \frac{1}{|S_k| - 1} \sum_{i \in S_k \setminus j} Z_{i \to j}

    over at most ``groups`` sets, of which every task is in one or more. The best is found, in :math:`3^n` steps: which network is
    best for any tasks that it may serve, then the best division of all tasks into those served together. The diagonal of the
    matrix, how a task's steps lower its own loss, never counts. Of equally good answers one with the fewest groups is given.

    Args:
      affinity: ``[tasks, tasks]``, entry (i, j) that of task i onto task j: the mean of :func:`jmeta.task_affinity` over training.
      names: of the tasks, in the order of the rows.
      groups: how many networks there may be.
      overlap: whether a task may help in other groups than the one that serves it.
      alone: what counts as the affinity onto a task that has a network to itself. By default, as in the authors' code, no task is
        left alone, because affinities on training data do not show overfitting; 0 leaves alone what the others harm.

    Raises:
      ValueError: if the matrix has not one row and one column per name or is not finite off the diagonal, ``groups`` is below 1, or
        there are more than 15 tasks.

    >>> affinity = [[1.0, 0.5, -0.1], [0.4, 1.0, -0.2], [0.1, -0.3, 1.0]]
    >>> group_tasks(affinity, ["depth", "normals", "edges"], groups=2, alone=0.0).groups
    (('depth', 'normals'), ('edges',))
    """
    matrix, tasks = check_matrix("affinity", affinity, names), len(names)
    np.fill_diagonal(matrix, 0)
    if groups < 1:
        raise ValueError(f"groups must be at least 1; got {groups}.")
    if tasks > LARGEST:
        raise ValueError(f"affinity must be of at most {LARGEST} tasks, for which the best grouping can be found; got {tasks}.")
    if not np.isfinite(matrix).all():
        one, other = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"affinity must be finite; got {matrix[one, other]} of {names[one]!r} onto {names[other]!r}.")
    scores = _scores(matrix, alone)
    values, networks = _best_networks(scores) if overlap else _their_own(scores)
    served = _divide(values, min(groups, tasks))
    of_task = {task: at for at, tasks_served in enumerate(served) for task in _members(tasks_served)}
    return Grouping(
        tuple(tuple(names[task] for task in _members(networks[tasks_served])) for tasks_served in served),
        {names[task]: of_task[task] for task in range(tasks)},
        {names[task]: float(scores[networks[served[of_task[task]]], task]) for task in range(tasks)},
    )


# A set of tasks is a number, whose bits say which are in it.


def _members(of_set: Any) -> list[int]:
    return [task for task in range(int(of_set).bit_length()) if int(of_set) >> task & 1]


def _subsets(of_set: int) -> np.ndarray:
    subsets = np.zeros(1, np.int64)
    for task in _members(of_set):
        subsets = np.concatenate([subsets, subsets | 1 << task])
    return subsets


def _scores(matrix: np.ndarray, alone: float) -> np.ndarray:
    """Computes ``[sets, tasks]``, the mean affinity onto each task of a set of the others in it."""
    tasks = len(matrix)
    inside = (np.arange(2**tasks)[:, None] >> np.arange(tasks)) & 1
    others = inside.sum(axis=1, keepdims=True) - 1
    return np.where(others > 0, inside @ matrix / np.maximum(others, 1), alone)


def _their_own(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores every set that is served by a network of its own, ``[sets]``, and says which."""
    sets = np.arange(len(scores))
    return np.array([scores[one, _members(one)].sum() for one in sets]), sets


def _best_networks(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds for every set the highest sum of the scores of its tasks in one network, ``[sets]``, and that network."""
    values, best = np.full(len(scores), -np.inf), np.arange(len(scores))
    values[0] = 0
    for network in range(1, len(scores)):
        sums = np.zeros(1)
        for task in _members(network):
            sums = np.concatenate([sums, sums + scores[network, task]])
        served = _subsets(network)
        # More than rounding, so that of equally good networks the first stays, which is never the larger of two that are nested.
        better = sums > values[served] + _rounding(values[served])
        values[served[better]], best[served[better]] = sums[better], network
    return values, best


def _divide(values: np.ndarray, groups: int) -> list[int]:
    """Divides all tasks into at most so many sets, at the highest sum of their values."""
    best, first = np.full((groups + 1, len(values)), -np.inf), np.zeros((groups + 1, len(values)), np.int64)
    best[:, 0] = 0
    for whole in range(1, len(values)):
        # The set with the first of the tasks is chosen, and the rest divided into one set less.
        rest = _subsets(whole & (whole - 1))
        sums = values[whole ^ rest] + best[:-1, rest]
        choice = sums.argmax(axis=1)
        best[1:, whole], first[1:, whole] = sums[np.arange(groups), choice], whole ^ rest[choice]
    left, chosen = len(values) - 1, []
    count = 1 + int((best[1:, left] >= best[-1, left] - _rounding(best[-1, left])).argmax())
    while left:
        chosen.append(int(first[count, left]))
        left, count = left ^ chosen[-1], count - 1
    return chosen


def _rounding(values: Any) -> Any:
    return np.where(np.isfinite(values), 1e-12 * np.abs(values), 0)
