"""Vibrations of damaged bearings (Case Western Reserve University Bearing Data Center), at four loads of the motor."""

from pathlib import Path

import numpy as np

from jmeta._options import check_counts
from jmeta._types import Batch
from jmeta.tasks._reading import check_shape, located, read_arrays

ARCHIVE = "cwru_de12k.npz"
NAMES = ("signal", "length", "scale", "load_hp", "condition")
# Recorded at one load alone, and at another rate.
LEFT_OUT = "Normal"
ADVICE = f"put {ARCHIVE} with signal [recordings, samples] and length, scale, load_hp and condition [recordings] there"


def bearings(path: str | Path | None, *, window: int = 1024) -> dict[int, Batch]:
    """Reads recordings of damaged bearings, cut into windows: ``x [n, window]`` volts at 12 kHz, ``y [n]`` faults, by load.

    The loads are 0, 1, 2 and 3 horsepower, the faults 15: three places and four sizes, in the order of their names. Windows do not
    overlap and follow each other in time, fault by fault; those of one recording are no independent examples, so that what is
    trained on should lie before what is tested on.

    Args:
      path: a folder with ``cwru_de12k.npz``, or such a file; None looks in the folder ``cwru`` of ``$JMETA_DATA``.
      window: samples of an example.

    Raises:
      ValueError: if the file is damaged or holds something else, or a recording is shorter than ``window``.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    check_counts(window=window)
    (file,) = located(path, "bearing", "cwru", ((ARCHIVE,),), ADVICE)
    signal, *rest = read_arrays(file, "bearing", NAMES)
    check_shape(file, "signal", signal, ("recordings", "samples"))
    for name, array in zip(NAMES[1:], rest, strict=True):
        check_shape(file, name, array, (len(signal),))
    lengths, scales, loads, conditions = rest
    faults = sorted(set(conditions.tolist()) - {LEFT_OUT})
    if not faults or not ((lengths >= window) & (lengths <= signal.shape[1])).all():
        raise ValueError(
            f"path {file} must hold recordings of {window} to {signal.shape[1]} samples of at least one fault; got lengths from "
            f"{lengths.min()} to {lengths.max()} of {', '.join(faults) or 'none'}."
        )
    windows: dict[int, list[np.ndarray]] = {int(load): [] for load in np.unique(loads)}
    labels: dict[int, list[np.ndarray]] = {load: [] for load in windows}
    for number, fault in enumerate(faults):
        for at in np.flatnonzero(conditions == fault):
            count = lengths[at] // window
            windows[int(loads[at])].append((signal[at, : count * window] * scales[at]).reshape(count, window))
            labels[int(loads[at])].append(np.full(count, number, np.int32))
    return {
        load: Batch(np.concatenate(rows).astype(np.float32), np.concatenate(labels[load])) for load, rows in windows.items() if rows
    }
