"""Groups are compared with all that there are."""

import itertools

import numpy as np
import pytest

import jmeta

NAMES = ["a", "b", "c", "d", "e"]
TASKS = range(len(NAMES))
SETS = [members for size in range(1, len(NAMES) + 1) for members in itertools.combinations(TASKS, size)]


def onto(affinity, members, task, alone):
    others = [affinity[other][task] for other in members if other != task]
    return np.mean(others) if others else alone


def best_of_all(affinity, groups, *, overlap, alone):
    """The highest sum over every choice of at most so many sets."""
    found = []
    for count in range(1, groups + 1):
        for chosen in itertools.combinations(SETS, count):
            covered = [task for members in chosen for task in members]
            if set(covered) == set(TASKS) and (overlap or len(covered) == len(TASKS)):
                scores = [max(onto(affinity, members, task, alone) for members in chosen if task in members) for task in TASKS]
                found.append(sum(scores))
    return max(found)


@pytest.mark.parametrize(("groups", "overlap", "alone"), [(1, True, -9.0), (2, True, -np.inf), (3, True, 0.0), (3, False, 0.1)])
def test_the_best_groups_of_all_are_found(groups, overlap, alone):
    for seed in range(3):
        affinity = np.random.default_rng(seed).normal(size=(5, 5))
        found = jmeta.group_tasks(affinity, NAMES, groups=groups, overlap=overlap, alone=alone)
        assert sum(found.affinity.values()) == pytest.approx(best_of_all(affinity, groups, overlap=overlap, alone=alone), rel=1e-12)
        assert len(found.groups) <= groups
        for name, value in found.affinity.items():
            members = [NAMES.index(other) for other in found.groups[found.served_by[name]]]
            assert NAMES.index(name) in members
            assert value == pytest.approx(onto(affinity, members, NAMES.index(name), alone))
        assert overlap or sorted(name for group in found.groups for name in group) == NAMES


def test_a_task_helps_where_it_is_not_served():
    """Everybody is helped by the first alone, which is helped by the second."""
    affinity = np.full((4, 4), -1.0)
    affinity[0, 1:], affinity[1, 0] = 1.0, 1.0
    found = jmeta.group_tasks(affinity, ["one", "two", "three", "four"], groups=3)
    assert found.groups == (("one", "two"), ("one", "three"), ("one", "four"))
    assert found.served_by == {"one": 0, "two": 0, "three": 1, "four": 2}


def test_of_equally_good_groups_there_are_as_few_as_can_be():
    affinity = 0.1 * np.ones((6, 6))
    assert jmeta.group_tasks(affinity, [*"abcdef"], groups=4).groups == (tuple("abcdef"),)
    assert jmeta.group_tasks(-affinity, [*"abcdef"], groups=6, alone=0.0).groups == tuple((name,) for name in "abcdef")


def test_a_network_holds_nobody_who_does_not_help():
    """The mean of three times 0.1 is above 0.1 by rounding."""
    affinity = np.full((4, 4), 0.1)
    affinity[:2, 2:], affinity[2, 3], affinity[3, 2] = -1.0, 1.0, 1.0
    assert jmeta.group_tasks(affinity, ["a", "b", "c", "d"], groups=2).groups == (("a", "b"), ("c", "d"))


def test_one_task_is_one_group():
    assert jmeta.group_tasks([[np.nan]], ["only"], groups=3) == ((("only",),), {"only": 0}, {"only": -np.inf})


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ValueError, match=r"affinity must have one row and one column for each of \['a', 'b'\]; got shape \(3, 3\)"):
        jmeta.group_tasks(np.eye(3), ["a", "b"], groups=1)
    with pytest.raises(ValueError, match="groups must be at least 1; got 0"):
        jmeta.group_tasks(np.eye(2), ["a", "b"], groups=0)
    with pytest.raises(ValueError, match="affinity must be finite; got nan of 'a' onto 'b'"):
        jmeta.group_tasks([[0, np.nan], [0, 0]], ["a", "b"], groups=1)
    with pytest.raises(ValueError, match=r"affinity must be of at most 15 tasks, .*; got 16"):
        jmeta.group_tasks(np.eye(16), [*"abcdefghijklmnop"], groups=1)
