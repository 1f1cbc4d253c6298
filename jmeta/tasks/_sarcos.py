"""SARCOS (Vijayakumar and Schaal, 2000): the seven torques of a robot's arm that make it move as it does."""

from pathlib import Path

import jax
import numpy as np

from jmeta._options import check_counts
from jmeta._types import Batch
from jmeta.tasks._reading import DAMAGE, check_shape, located, read_arrays
from jmeta.tasks._splits import Splits, batches_of, check_share, divide, scale_of, standardised

# The official test rows lie on the trajectories of the training rows, so one of the files is all there is.
OFFICIAL, ARCHIVE = "sarcos_inv.mat", "sarcos_inv_test.npz"
ADVICE = f"put {OFFICIAL} from gaussianprocess.org/gpml/data, or {ARCHIVE} with x [n, 21] and y [n, 7], there"
INPUTS, TORQUES, TEST_SHARE, BLOCK = 21, 7, 0.25, 50


def sarcos(path: str | Path | None, *, size: int | None = None, validation: float = 0.2, seed: int = 0) -> Splits:
    """Reads moments of a moving arm: ``x [n, 21]``, ``y`` torques ``{"torque_1": [n, 1], ..., "torque_7": [n, 1]}``.

    The inputs are positions, velocities and accelerations of seven joints. Rows lie along trajectories, so that the neighbour of a
    row all but gives its torques away: whole blocks of 50 rows are divided, a quarter for the test. (The official test rows lie
    between those of the official training file, and nothing published on them compares.) Everything is standardised by the rows to
    train on: an error times ``targets.deviation`` of its torque is one in newton metres.

    Args:
      path: a folder with ``sarcos_inv.mat`` or ``sarcos_inv_test.npz``, or one of these files; None looks in the folder ``sarcos``
        of ``$JMETA_DATA``.
      size: rows of a training batch; all by default.
      validation: which share of the other blocks is held out; the test is the same for every share.
      seed: of the split.

    Raises:
      ValueError: if the file is damaged or holds something else, ``validation`` is no share, or ``size`` more than there are rows.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    check_share("validation", validation)
    check_counts(0, seed=seed)
    x, y = _read(path)
    blocks = np.arange(len(x)) // BLOCK
    chosen = divide(np.random.default_rng(seed), np.unique(blocks), TEST_SHARE, validation)
    parts = [np.flatnonzero(np.isin(blocks, units)) for units in chosen]
    torques = {f"torque_{number + 1}": y[:, number, None] for number in range(TORQUES)}
    trained = jax.tree.map(lambda leaf: leaf[parts[0]], (x, torques))
    inputs, targets = map(scale_of, trained)
    # Float64 as far as the standardisation, and what jax computes in from there on.
    dtype = jax.dtypes.canonicalize_dtype(float)
    ready = jax.tree.map(lambda leaf: leaf.astype(dtype), (standardised(x, inputs), standardised(torques, targets)))
    train, held, tested = (Batch(*jax.tree.map(lambda leaf, rows=rows: leaf[rows], ready)) for rows in parts)
    return Splits(batches_of(train, size), held if len(parts[1]) else None, tested, inputs, targets)


def _read(path: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    (file,) = located(path, "SARCOS", "sarcos", ((OFFICIAL,), (ARCHIVE,)), ADVICE)
    if file.suffix == ".npz":
        x, y = read_arrays(file, "SARCOS", ("x", "y"))
    else:
        x, y = np.split(_read_official(file), [INPUTS], axis=1)
    check_shape(file, "x", x, ("n", INPUTS))
    check_shape(file, "y", y, (len(x), TORQUES))
    return x.astype(float), y.astype(float)


def _read_official(file: Path) -> np.ndarray:
    import scipy.io

    try:
        table = scipy.io.loadmat(file)[file.stem]
        check_shape(file, file.stem, table, ("n", INPUTS + TORQUES))
    except (*DAMAGE, scipy.io.matlab.MatReadError) as error:
        raise ValueError(f"path {file} is not a sound file of SARCOS ({error}); expected the official one.") from error
    return table
