"""School (Inner London Education Authority): exam scores of 15,362 pupils of 139 schools, each school a task.

As in Argyriou, Evgeniou and Pontil (2008), *Convex multi-task feature learning*: 75 % of the pupils of each school to train on.
"""

from pathlib import Path

import numpy as np

from jmeta.tasks._reading import check_shape, located, read_arrays
from jmeta.tasks._splits import Splits
from jmeta.tasks._tables import Table, divided_rows, divided_tasks

ARCHIVE = "school.npz"
ADVICE = f"put {ARCHIVE} with x [n, 28], y [n] and task [n], made of school.mat from github.com/jiayuzhou/MALSAR, there"
TEST_SHARE = 0.25


def school(path: str | Path | None, *, size: int | None = None, validation: float = 0.2, seed: int = 0) -> Splits:
    """Reads pupils by school, ``{"000": Batch(x [n, 27], y [n, 1]), ...}``, a quarter of each school for the test.

    The inputs are the year, two percentages of the school, sex, band of ability, ethnicity and kind of school, without the constant
    1 that the file has besides. Inputs and the exam score (1 to 70) are standardised by the mean and deviation of all pupils to
    train on, the percentages among them: an error times ``targets.deviation`` is one of the score. ``train.data`` is all pupils to
    train on, padded and masked, leaves ``[139, rows, ...]``.

    Args:
      path: a folder with ``school.npz``, or that file; None looks in the folder ``school`` of ``$JMETA_DATA``.
      size: pupils of each school in a training batch; all by default.
      validation: which share of the others is held out; the test is the same for every share.
      seed: of the split. The benchmark is the mean over ten of them.

    Raises:
      ValueError: if the file is damaged or holds something else, ``validation`` is no share, or ``size`` more than a school has.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return divided_rows(_read(path), size=size, test=TEST_SHARE, validation=validation, seed=seed)


def school_episodes(
    path: str | Path | None, *, shots: int = 10, queries: int | None = 10, validation: float = 0.2, seed: int = 0
) -> Splits:
    """Draws episodes of one school each; the schools are divided, a quarter of them for the test.

    Standardised as by :func:`school`, by the pupils of the schools to train on. Every part is a finite sampler.

    Args:
      path: as for :func:`school`.
      shots: support pupils of an episode.
      queries: query pupils; all others where None.
      validation: which share of the other schools is held out.
      seed: of the split.

    Raises:
      ValueError: as :func:`school` and :func:`jmeta.tasks.episodes_from`.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return divided_tasks(_read(path), shots=shots, queries=queries, test=TEST_SHARE, validation=validation, seed=seed)


def _read(path: str | Path | None) -> Table:
    (file,) = located(path, "School", "school", ((ARCHIVE,),), ADVICE)
    x, y, task = read_arrays(file, "School", ("x", "y", "task"))
    check_shape(file, "x", x, ("n", 28))
    for name, array in (("y", y), ("task", task)):
        check_shape(file, name, array, (len(x),))
    names = np.array([f"{number:03d}" for number in task])
    return Table(x[:, :-1].astype(float), y[:, None].astype(float), names, np.arange(len(x)))
