"""Which tasks to train together: the best of all groupings, by trying them all."""

import itertools

import numpy as np
import pytest

import jmeta

NAMES = ["a", "b", "c", "d"]


def value(matrix, networks, alone):
    """The sum over tasks of the best mean affinity that a network with the task gives it; None where a task is in none."""
    total = 0.0
    for task in range(len(matrix)):
        of_networks = [
            np.mean([matrix[other, task] for other in network if other != task]) if len(network) > 1 else alone
            for network in networks
            if task in network
        ]
        if not of_networks:
            return None
        total += max(of_networks)
    return total


def best(matrix, groups, alone, *, overlap):
    sets = [network for size in range(1, len(matrix) + 1) for network in itertools.combinations(range(len(matrix)), size)]
    found = []
    for count in range(1, groups + 1):
        for networks in itertools.combinations(sets, count):
            if overlap or len(set().union(*networks)) == sum(map(len, networks)):
                found.append(value(matrix, networks, alone))
    return max(number for number in found if number is not None)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(("seed", "groups", "alone"), [(0, 1, -9.0), (1, 2, -9.0), (2, 2, 0.0), (3, 3, 0.1)])
def test_no_grouping_is_better(seed, groups, alone, overlap):
    matrix = np.random.default_rng(seed).normal(size=(4, 4))
    found = jmeta.group_tasks(matrix, NAMES, groups=groups, overlap=overlap, alone=alone)
    networks = [tuple(NAMES.index(name) for name in group) for group in found.groups]
    assert len(networks) <= groups
    assert value(matrix, networks, alone) == pytest.approx(best(matrix, groups, alone, overlap=overlap))
    assert sum(found.affinity.values()) == pytest.approx(best(matrix, groups, alone, overlap=overlap))
    assert all(name in found.groups[at] for name, at in found.served_by.items())


def test_a_task_that_the_others_harm_may_stay_alone():
    matrix = np.full((3, 3), 0.5)
    matrix[:, 2] = -1
    found = jmeta.group_tasks(matrix, NAMES[:3], groups=2, overlap=False, alone=0.0)
    assert found.groups == (("a", "b"), ("c",))
    assert found.affinity == {"a": 0.5, "b": 0.5, "c": 0.0}


@pytest.mark.parametrize(
    ("matrix", "options", "sentence"),
    [
        (np.zeros((4, 4)), {"groups": 0}, "groups must be at least 1; got 0"),
        (np.full((4, 4), np.nan), {"groups": 1}, "affinity must be finite; got nan of 'a' onto 'b'"),
        (np.zeros((3, 4)), {"groups": 1}, "affinity must"),
    ],
)
def test_what_cannot_be_grouped_is_refused(matrix, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.group_tasks(matrix, NAMES, **options)
