"""Choosing between models of two domains without target labels: source validation, DEV, entropy.

Entropy as by Morerio, Cavazza and Murino (2018, 1711.10288).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jmeta._rows import count_rows
from jmeta._types import Batch, LossFn
from jmeta.metrics import negative_log_likelihood
from jmeta.predictions import predict_batch
from jmeta.transfer._alignment import check_logits, entropies
from jmeta.transfer._deep_embedded_validation import deep_embedded_validation
from jmeta.transfer._domain_adaptation import DomainAdaptation, DomainParams
from jmeta.transfer._importance_weights import importance_weights


class LabelFreeScores(NamedTuple):
    """What may choose between models of two domains; of each, less is better.

    Attributes:
      source: the mean loss on held-out examples of the source.
      deep_embedded: :func:`jmeta.transfer.deep_embedded_validation` of these.
      entropy: of the predictions in the target, in nats; also little where all of it is taken for one class.
    """

    source: float
    deep_embedded: float
    entropy: float


def label_free_scores(
    model: DomainAdaptation,
    params: DomainParams,
    data: Mapping[str, Batch],
    *,
    loss_fn: LossFn = negative_log_likelihood,
    batch_size: int = 256,
) -> LabelFreeScores:
    """Judges a model of two domains as one who has no target labels can; a choice with them is that of an oracle.

    Args:
      model: of two domains.
      params: its parameters.
      data: ``{"source": Batch, "validation": Batch(x, y), "target": Batch(x, None)}``: the training examples of the source,
        held-out examples of it, and those of the target, none of which is masked.
      loss_fn: of the outputs and the targets of the validation: one number per row is what it comes to.
      batch_size: rows that run at once.

    Raises:
      ValueError: if data is anything else, or outputs are no logits.
    """
    names = {"source", "validation", "target"}
    if set(data) != names or any(batch.mask is not None for batch in data.values()):
        raise ValueError(f"data must hold batches without a mask by the names {sorted(names)}; got {sorted(data)}.")

    def of(apply: Any, name: str) -> Any:
        return predict_batch(apply, params, Batch(data[name].x, None), batch_size=batch_size).outputs

    features = {name: np.reshape(of(model.encode, name), (count_rows(data[name].x), -1)) for name in sorted(names)}
    outputs, guesses = of(model.predict, "validation"), check_logits("outputs", of(model.predict, "target"))
    losses = np.asarray(loss_fn(outputs, data["validation"].y), np.float64)
    losses = losses.reshape(len(losses), -1).mean(axis=1)
    weights = importance_weights(features["source"], features["target"], features["validation"])
    return LabelFreeScores(float(losses.mean()), deep_embedded_validation(losses, weights), float(entropies(guesses).mean()))
