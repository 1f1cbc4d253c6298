"""Test-time adaptation by entropy (TENT; Wang, Shelhamer, Liu, Olshausen and Darrell, 2021, 2006.10726), equation 1."""

from typing import Any

import jax

from jmeta._options import check_model
from jmeta._presence import with_presence
from jmeta._rows import fill_batch, mean_over_rows
from jmeta._types import Batch, Metrics, Model, Objective, Params
from jmeta._validation import check_rows
from jmeta.transfer._alignment import check_logits, entropies


def tent(model: Model) -> Objective:
    r"""Makes the objective that a trained model goes on with where it is used, without source and without labels.

    .. math:: \frac{1}{n} \sum_i H\left(p(y \mid x_i)\right)

    What moves is for the optimiser to say, in the paper the scales and offsets of the normalisations alone:
    ``jmeta.trainable(optax.adam(1e-3), lambda path: "scale" in path or "bias" in path)``. The model is deterministic, as where it
    predicts; statistics of the batch, as the paper has them, are those of :class:`jmeta.nn.BatchStatistics`.

    Args:
      model: ``x -> logits [n, classes]``, such as the whole of a classifier.

    Returns:
      ``(params, key, Batch(x, None), *, step=0) -> (scalar, metrics)``; targets are never looked at.

    Raises:
      ValueError: if the model is none; from the objective, if its outputs are no logits.
    """
    check_model("model", model)

    def objective(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del key, step
        batch = Batch(batch.x, None, batch.mask)
        check_rows("data", batch)
        batch = fill_batch(batch)
        logits = check_logits("outputs", model.apply(params, batch.x, mask=batch.mask))
        value = mean_over_rows(entropies(logits), batch.mask)
        return value, with_presence({"loss": value}, batch)

    return objective
