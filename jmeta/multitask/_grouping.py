"""Which tasks to train together (Fifty et al., 2021, 2109.04617; Standley et al., 2020, 1905.07553), section 3.3: network selection."""

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
      affinity: by name, the mean affinity onto a task of the others in that group.
    """

    groups: tuple[tuple[str, ...], ...]
    served_by: dict[str, int]
    affinity: dict[str, float]


def group_tasks(
    affinity: Any, names: Sequence[str], *, groups: int, overlap: bool = True, alone: float = -math.inf
) -> Grouping:
    r"""Chooses which tasks to train together, so that the mean affinity onto each task is as high as it can be.

    .. math:: \max_{S_1, \dots, S_m} \sum_j \max_{S_k \ni j} \frac{1}{|S_k| - 1} \sum_{i \in S_k \setminus j} Z_{i \to j}

    over at most ``groups`` sets of which every task is in one or more. The best is found, not a good one: first the best set to serve
    any given tasks, :math:`3^n` steps, then the best division of all tasks into those served together, as many again. The diagonal,
    how a task's step lowers its own loss, never counts. Of equally good answers one with the fewest groups is given.

    Args:
      affinity: ``[tasks, tasks]``, entry (i, j) that of task i onto task j: the ``mean`` of an ``Affinity``, or cosines.
      names: of the tasks, in the order of the rows.
      groups: how many networks there may be.
      overlap: whether a task may help in other groups than the one that serves it.
      alone: what counts as the affinity onto a task that has a network to itself. By default, as in the authors' code, no task is left
        alone, because affinities on training data do not show overfitting; 0 leaves alone what the others harm.

    Raises:
      ValueError: if the matrix has not one row and one column per name or an entry that is not finite, ``groups`` is below 1, or
        there are more than 15 tasks.

    >>> help_each_other = [[1.0, 0.5, -0.1], [0.4, 1.0, -0.2], [0.1, -0.3, 1.0]]
    >>> group_tasks(help_each_other, ["depth", "normals", "edges"], groups=2, alone=0.0).groups
    (('depth', 'normals'), ('edges',))
    """
    matrix = check_matrix("affinity", affinity, names)
    tasks = len(names)
    if groups < 1:
        raise ValueError(f"groups must be at least 1; got {groups}.")
    if tasks > LARGEST:
        raise ValueError(f"affinity must be of at most {LARGEST} tasks, for which the best grouping can be found; got {tasks}.")
    np.fill_diagonal(matrix, 0)
    if not np.isfinite(matrix).all():
        giver, taker = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(
            f"affinity must be finite between two tasks; got {matrix[giver, taker]} of {names[giver]!r} onto {names[taker]!r}."
        )
    scores = _scores(matrix, alone)
    values, sets = _best_sets(scores, overlap)
    chosen = _divide(values, min(groups, tasks))
    networks = [int(sets[served]) for served in chosen]
    served_by = {names[task]: at for task in range(tasks) for at, served in enumerate(chosen) if served >> task & 1}
    return Grouping(
        tuple(tuple(name for task, name in enumerate(names) if network >> task & 1) for network in networks),
        served_by,
        {name: float(scores[networks[served_by[name]], task]) for task, name in enumerate(names)},
    )


# A set of tasks is a number whose bits say which are in it.


def _scores(matrix: np.ndarray, alone: float) -> np.ndarray:
    """Computes ``[sets, tasks]``, the mean affinity onto each task of a set of the others in it."""
    tasks = len(matrix)
    members = (np.arange(2**tasks)[:, None] >> np.arange(tasks)) & 1
    others = members.sum(axis=1, keepdims=True) - 1
    return np.where(others > 0, members @ matrix / np.maximum(others, 1), alone)


def _best_sets(scores: np.ndarray, overlap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Finds for all tasks that one network may serve, ``[sets]``, the highest sum of their scores, and the set that has it."""
    sets, tasks = scores.shape
    values, best = np.full(sets, -np.inf), np.arange(sets)
    for network in range(1, sets):
        own = [task for task in range(tasks) if network >> task & 1]
        if not overlap:
            values[network] = scores[network, own].sum()
            continue
        served, sums = _subsets(own), np.zeros(1)
        for task in own:
            sums = np.concatenate([sums, sums + scores[network, task]])
        # By more than rounding, so that of equal sets the smaller stays, which comes first.
        better = sums > values[served] + _rounding(values[served])
        values[served[better]], best[served[better]] = sums[better], network
    values[0] = 0
    return values, best


def _divide(values: np.ndarray, groups: int) -> list[int]:
    """Divides all tasks into at most so many sets, at the highest sum of their values."""
    sets = len(values)
    best, first = np.full((groups + 1, sets), -np.inf), np.zeros((groups + 1, sets), np.int64)
    best[:, 0] = 0
    for united in range(1, sets):
        # The set with the lowest task is chosen, and the rest divided into one set less.
        lowest = united & -united
        left = _subsets([task for task in range(united.bit_length()) if (united ^ lowest) >> task & 1])
        sums = values[united ^ left] + best[:-1, left]
        choice = sums.argmax(axis=1)
        best[1:, united], first[1:, united] = sums[np.arange(groups), choice], united ^ left[choice]
    whole, chosen = sets - 1, []
    enough = best[:, whole] >= best[-1, whole] - _rounding(best[-1:, whole])[0]
    count = int(enough.argmax())
    while whole:
        chosen.append(int(first[count, whole]))
        whole, count = whole ^ chosen[-1], count - 1
    return chosen


def _subsets(tasks: Sequence[int]) -> np.ndarray:
    subsets = np.zeros(1, np.int64)
    for task in tasks:
        subsets = np.concatenate([subsets, subsets | 1 << task])
    return subsets


def _rounding(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), 1e-12 * np.abs(values), 0)
