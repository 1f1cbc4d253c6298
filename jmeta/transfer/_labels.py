"""Labels that have an output."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jmeta._rows import counts_of, has_labels
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
