"""Scores of a multi-task model: every metric of every task, with its interval."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from jmeta._estimates import Estimate
from jmeta._metrics.bootstrap import measure
from jmeta._types import Batch, Mask, Params
from jmeta.multitask._multitask import MultitaskModel, of_tasks
from jmeta.predictions import predict_batch

Metric = Callable[..., Any]


def evaluate_tasks(
    model: MultitaskModel,
    params: Params,
    data: Mapping[str, Batch] | Batch,
    metrics: Mapping[str, Mapping[str, Metric]],
    *,
    batch_size: int = 256,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Scores every task of a multi-task model by every metric of it, each with its bootstrap interval over rows.

    Args:
      model: the model.
      params: its parameters.
      data: test examples by task, ``{name: Batch}``, or those of tasks that share their input, ``Batch(x, {name: y}, mask,
        {name: weights})``.
      metrics: by task and name, ``{"age": {"mean squared error": jmeta.squared_error, "R2": jmeta.metrics.r2_score}}``; see
        :func:`jmeta.metrics.measure`.
      batch_size: rows that run at once.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      Estimates by task and metric.

    Raises:
      ValueError: if data or metrics do not name the tasks of the model, or as :func:`jmeta.metrics.measure`.
    """
    batches = of_tasks(model.names, data) if isinstance(data, Batch) else dict(data)
    for name, given in (("data", batches), ("metrics", metrics)):
        if set(given) != set(model.names):
            raise ValueError(f"{name} must have an entry for each of {[*model.names]}; got {sorted(given)}.")
    found = {}
    for name in model.names:
        predictions = predict_batch(_task_apply(model.predict, name), params, batches[name], batch_size=batch_size)
        found[name] = measure(predictions, metrics[name], resamples=resamples, seed=seed)
    return found


@functools.lru_cache(maxsize=64)
def _task_apply(model_predict: Callable[..., Any], name: str) -> Callable[..., Any]:
    def apply(params: Params, x: Any, *, mask: Mask = None) -> Any:
        return model_predict(params, name, x, mask=mask)

    return apply
