"""Checks of labels: that they have an output, and a counterpart among those of other classes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jmeta._options import check_counts
from jmeta._rows import counts_of, has_labels
from jmeta._sentences import kinds
from jmeta._types import Batch


def check_labels(name: str, batch: Batch, outputs: Any) -> None:
    """Checks that a head has an output for each label of what counts in a batch, where their values are known.

    One output may be the logit of two classes, or a number.

    Raises:
      ValueError: with the least and the greatest label.
    """
    known = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((batch, outputs)))
    if not known or not has_labels(batch) or getattr(outputs, "ndim", 0) != 2 or outputs.shape[1] == 1:
        return
    counts = counts_of(batch)
    labels = np.asarray(batch.y) if counts is None else np.asarray(batch.y)[np.asarray(counts) != 0]
    if labels.size and not 0 <= labels.min() <= labels.max() < outputs.shape[1]:
        raise ValueError(
            f"head must have an output for each class, of which {name}.y has {labels.min()}, ..., {labels.max()}; got "
            f"{outputs.shape[1]}."
        )


def parents_of(parents: Any, fine: int | None, coarse: int | None) -> tuple[np.ndarray, int]:
    """Gives the coarse class of each fine one, ``[fine]``, and how many coarse ones there are.

    Raises:
      ValueError: if a fine class has none, a coarse class has no fine one, or one of them is none.
    """
    check_counts(fine=fine, coarse=coarse)
    if isinstance(parents, Mapping):
        classes = range(fine or max([*parents, -1]) + 1)
        known = f"fine class 0, ..., {len(classes) - 1}"
        if absent := sorted(set(classes) - set(parents)):
            raise ValueError(f"parents must give each {known} its coarse one; got none for {absent[0]}.")
        if unknown := sorted(set(parents) - set(classes)):
            raise ValueError(f"parents must give each {known} its coarse one; got one for {unknown[0]}.")
        parents = [parents[label] for label in classes]
    found = np.asarray(parents)
    if found.ndim != 1 or not found.size or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"parents must be integers, [fine] or {{fine: coarse}}; got {kinds(found)}.")
    if fine not in (None, len(found)):
        raise ValueError(f"parents must give each of {fine} fine classes its coarse one; got {len(found)}.")
    count = coarse or int(found.max()) + 1
    if (outside := found[(found < 0) | (found >= count)]).size:
        raise ValueError(f"parents must hold coarse classes 0, ..., {count - 1}; got {outside[0]}.")
    if (without := np.setdiff1d(np.arange(count), found)).size:
        raise ValueError(f"parents must give each coarse class 0, ..., {count - 1} a fine one; got none for {without[0]}.")
    return found.astype(np.int32), count


def shares_within(parents: np.ndarray, shares: Any) -> np.ndarray:
    """Gives the share of each fine class in its coarse one, ``[fine]``; alike where none are given.

    Raises:
      ValueError: if they are not a positive number for each.
    """
    counts = np.ones(len(parents)) if shares is None else np.asarray(shares, np.float64)
    if counts.shape != parents.shape or not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(f"shares must be a positive number for each of {len(parents)} fine classes; got {shares}.")
    return counts / np.bincount(parents, counts)[parents]
