"""Scores of a multi-task model: every metric of every task, with its interval; and the losses that a training is chosen by."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jmeta._estimates import Estimate
from jmeta._metrics.bootstrap import measure
from jmeta._options import check_counts
from jmeta._presence import all_present, mean_of_present, prefixed, with_presence
from jmeta._rows import count_rows, fill_batch
from jmeta._scoring import score
from jmeta._types import PRESENT, Batch, Mask, Params
from jmeta._validation import check_rows
from jmeta.multitask._multitask import MultitaskModel, Task, by_task, of_names
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
    batches, metrics = by_task(model.names, data), of_names(model.names, metrics, "metrics")
    found = {}
    for name in model.names:
        predictions = predict_batch(_task_apply(model.predict, name), params, batches[name], batch_size=batch_size)
        found[name] = measure(predictions, metrics[name], resamples=resamples, seed=seed)
    return found


def task_validator(
    model: MultitaskModel, tasks: Mapping[str, Task], data: Mapping[str, Batch] | Batch, *, batch_size: int = 256
) -> Callable[[Params], Mapping[str, Any]]:
    """Builds the validation of :func:`jmeta.fit`: the loss of each task over all of its examples, and their mean.

    Models are deterministic. What has no example that counts is left out of the mean.

    Args:
      model: the model.
      tasks: by name, as they were given to it.
      data: validation examples, as for :func:`evaluate_tasks`.
      batch_size: rows that run at once.

    Raises:
      ValueError: if tasks or data do not name the tasks of the model, rows do not match, or ``batch_size`` is below 1.
    """
    check_counts(batch_size=batch_size)
    tasks, batches = of_names(model.names, tasks, "tasks"), by_task(model.names, data)
    for name in model.names:
        check_rows(name, batches[name])
    batches = jax.tree.map(jnp.asarray, batches)

    @jax.jit
    def losses(params: Params, batches: dict[str, Batch]) -> dict[str, jax.Array]:
        metrics, values, present = {}, [], []
        for name in model.names:
            batch = fill_batch(batches[name])
            outputs = _outputs(functools.partial(model.predict, params, name), batch, batch_size)
            values.append(score(tasks[name].loss_fn, outputs, batch))
            found = with_presence({"loss": values[-1]}, batch)
            present.append((found.get(PRESENT), 1))
            metrics |= prefixed(name, found)
        return {"loss": mean_of_present(jnp.stack(values), all_present(present).get(PRESENT))} | metrics

    def validate(params: Params) -> Mapping[str, Any]:
        found = losses(params, batches)
        # In a traced function, as in a sweep, they stay arrays.
        return {name: value if isinstance(value, Tracer) else float(value) for name, value in found.items()}

    return validate


def _outputs(predict: Callable[..., Any], batch: Batch, batch_size: int) -> Any:
    """Predicts all rows, some at a time; the last of them come with copies of the first."""
    rows = count_rows(batch.x)
    size = min(batch_size, rows)
    which = (jnp.arange(-(-rows // size) * size) % rows).reshape(-1, size)

    def some(which: jax.Array) -> Any:
        x, mask = jax.tree.map(lambda leaf: leaf[which], (batch.x, batch.mask))
        return predict(x, mask=mask)

    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:rows], jax.lax.map(some, which))


@functools.lru_cache(maxsize=64)
def _task_apply(model_predict: Callable[..., Any], name: str) -> Callable[..., Any]:
    def apply(params: Params, x: Any, *, mask: Mask = None) -> Any:
        return model_predict(params, name, x, mask=mask)

    return apply
