"""Parkinson's telemonitoring (Tsanas, Little, McSharry and Ramig, 2010; UCI 189): 42 patients, 5,875 recordings of voices."""

from pathlib import Path

import numpy as np

from jmeta.tasks._reading import DAMAGE, check_shape, located, read_arrays
from jmeta.tasks._splits import Splits
from jmeta.tasks._tables import Table, divided_rows, divided_tasks

ARCHIVE, OFFICIAL = "parkinsons_updrs.npz", "parkinsons_updrs.data"
ADVICE = f"put {OFFICIAL} from archive.ics.uci.edu/dataset/189, or {ARCHIVE}, there"
TEST_SHARE = 0.25
COLUMNS, SUBJECT, TIME, TARGETS = 22, 0, 3, (4, 5)


def parkinsons(path: str | Path | None, *, size: int | None = None, validation: float = 0.2, seed: int = 0) -> Splits:
    """Reads recordings by patient, ``{"01": Batch(x [n, 19], y [n, 2]), ...}``, a quarter of each patient's days for the test.

    The targets are the motor and the total score of the disease (UPDRS), the inputs age, sex, time in days and 16 measures of the
    voice. Recordings of one day, whose scores are all but the same, stay together; scores are interpolated between three visits,
    so days between others are easy to predict, and :func:`parkinsons_episodes` asks for more. Everything is standardised by the
    mean and deviation of all recordings to train on: an error times ``targets.deviation`` is one of the scores.

    Args:
      path: a folder with ``parkinsons_updrs.data`` or ``parkinsons_updrs.npz``, or one of these files; None looks in the folder
        ``parkinsons`` of ``$JMETA_DATA``.
      size: recordings of each patient in a training batch; all by default.
      validation: which share of the other days is held out; the test is the same for every share.
      seed: of the split.

    Raises:
      ValueError: if the file is damaged or holds something else, ``validation`` is no share, or ``size`` more than a patient has.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return divided_rows(_read(path), size=size, test=TEST_SHARE, validation=validation, seed=seed)


def parkinsons_episodes(
    path: str | Path | None, *, shots: int = 10, queries: int | None = 10, validation: float = 0.2, seed: int = 0
) -> Splits:
    """Draws episodes of one patient each; the patients are divided, a quarter of them for the test.

    Standardised as by :func:`parkinsons`, by the recordings of the patients to train on. Every part is a finite sampler.

    Args:
      path: as for :func:`parkinsons`.
      shots: support recordings of an episode.
      queries: query recordings; all others where None.
      validation: which share of the other patients is held out.
      seed: of the split.

    Raises:
      ValueError: as :func:`parkinsons` and :func:`jmeta.tasks.episodes_from`.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return divided_tasks(_read(path), shots=shots, queries=queries, test=TEST_SHARE, validation=validation, seed=seed)


def _read(path: str | Path | None) -> Table:
    (file,) = located(path, "Parkinson's", "parkinsons", ((ARCHIVE,), (OFFICIAL,)), ADVICE)
    data = read_arrays(file, "Parkinson's", ("data",))[0] if file.suffix == ".npz" else _read_official(file)
    check_shape(file, "data", data, ("n", COLUMNS))
    names = np.array([f"{number:02.0f}" for number in data[:, SUBJECT]])
    inputs = np.delete(data, [SUBJECT, *TARGETS], axis=1)
    return Table(inputs, data[:, TARGETS], names, np.round(data[:, TIME]).astype(int))


def _read_official(file: Path) -> np.ndarray:
    try:
        _, *rows = file.read_text().splitlines()
        if not rows:
            raise ValueError("no rows")
        return np.loadtxt(rows, delimiter=",", ndmin=2)
    except DAMAGE as error:
        raise ValueError(f"path {file} is not a sound file of Parkinson's ({error}); expected the official one.") from error
