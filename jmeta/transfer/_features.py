"""What a pretrained encoder makes of examples."""

from typing import Any

import jax
import numpy as np

from jmeta._options import check_counts, check_model
from jmeta._rows import count_rows
from jmeta._sentences import kinds
from jmeta._types import Batch, Model, Params
from jmeta.predictions import predict_batch


def features(encoder: Model, params: Params, x: Any, *, batch_size: int = 256) -> np.ndarray:
    """Gives the features ``[n, d]`` of examples, some at a time on the device, without anything random.

    What keeps its place, ``[n, h, w, c]``, is laid out in one row.

    Args:
      encoder: ``x -> features``.
      params: its parameters.
      x: leaves ``[n, ...]``.
      batch_size: rows that run at once. An encoder that mixes rows (batch statistics) sees only these together.

    Returns:
      Features on the host, of the encoder's type.

    Raises:
      ValueError: if the encoder is no model, does not give one array of a row for each example, or ``batch_size`` is below 1.
    """
    check_model("encoder", encoder)
    check_counts(batch_size=batch_size)
    rows = count_rows(x)
    expected = jax.eval_shape(encoder.apply, params, x)
    if not hasattr(expected, "ndim") or expected.ndim < 2 or len(expected) != rows:
        raise ValueError(f"encoder must give one array of a row for each of {rows} examples, [n, ...]; got {kinds(expected)}.")
    found = predict_batch(encoder.apply, params, Batch(x, np.zeros(rows, int)), batch_size=batch_size).outputs
    return found.reshape(rows, -1)
