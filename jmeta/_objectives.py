"""From one task to many: means over rows, tasks and kinds of task, and their gradients.

These are the only places that map the task axis.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Adapt, Batch, EncoderHead, Episode, LossFn, Metrics, Objective, Objectives, Params, Predict
from jmeta._validation import check_rows


def mask_absent_classes(outputs: jax.Array, classes: jax.Array | None) -> jax.Array:
    """Makes the logits ``[n, ways]`` of absent classes so low that no softmax and no argmax sees them."""
    if classes is None:
        return outputs
    if outputs.shape[-1:] != classes.shape:
        raise ValueError(
            f"classes must mark each of the model's outputs; got classes of shape {classes.shape} for outputs {outputs.shape}."
        )
    return jnp.where(classes, outputs, jnp.finfo(outputs.dtype).min / 2)


def mean_over_rows(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Averages ``[n, ...]`` values over all axes, counting only the rows that ``mask [n]`` marks as real.

    A batch without a real row has mean 0.
    """
    per_row = values.reshape(values.shape[0], -1).mean(axis=-1)
    if mask is None:
        return per_row.mean()
    # where, not a product: a padded row may hold NaN.
    return jnp.where(mask, per_row, 0).sum() / jnp.maximum(mask.sum(), 1)


def score(fn: LossFn, outputs: jax.Array, batch: Batch, classes: jax.Array | None = None) -> jax.Array:
    """Averages a loss or a metric over the real rows of one task.

    Args:
      fn: ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``.
      outputs: ``[n, ...]`` outputs for ``batch.x``.
      batch: the examples; ``batch.mask`` marks the real ones.
      classes: ``[ways]``, the real classes.

    Raises:
      ValueError: if ``fn`` does not take outputs and targets of these shapes and types, or the result's first axis is not ``n``.
    """
    try:
        values = fn(mask_absent_classes(outputs, classes), batch.y)
    except jax.errors.JAXTypeError:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"loss_fn must take the outputs and targets given to it; got outputs {outputs.dtype}{[*outputs.shape]} and targets "
            f"{batch.y.dtype}{[*batch.y.shape]}: {str(error).partition(chr(10))[0]}"
        ) from error
    # [n, 1] with [n] broadcasts to all pairs of rows.
    pairs = outputs.ndim != batch.y.ndim and values.ndim > 1 and values.shape not in (outputs.shape, batch.y.shape)
    if pairs or values.shape[:1] != batch.y.shape[:1] or outputs.shape[:1] != batch.y.shape[:1]:
        raise ValueError(
            "loss_fn must give one row per example, [n, ...]; "
            f"got {values.shape} from outputs {outputs.shape} and targets {batch.y.shape}."
        )
    return mean_over_rows(values, batch.mask)


def query_loss(adapt: Adapt, predict: Predict, loss_fn: LossFn) -> Objective:
    """Builds the objective of most learners: adapt on the support, be judged on the query."""

    def loss(params: Params, key: jax.Array, episode: Episode, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("support", episode.support)
        check_rows("query", episode.query)
        adapt_key, predict_key = jax.random.split(key)
        adapted = adapt(params, adapt_key, episode.support, classes=episode.classes)
        query = episode.query
        outputs = predict(params, adapted, query.x, key=predict_key, mask=query.mask)
        value = score(loss_fn, outputs, query, episode.classes)
        return value, {"loss": value}

    return loss


def over_tasks(objective: Objective) -> Objective:
    """Averages an objective of one task over a batch of tasks, leaves ``[tasks, ...]``.

    >>> import jax, jax.numpy as jnp
    >>> def distance(params, key, data, *, step=0):
    ...     value = (params - data) ** 2
    ...     return value, {"loss": value}
    >>> value, metrics = over_tasks(distance)(1.0, jax.random.key(0), jnp.array([1.0, 3.0]))
    >>> float(value)
    2.0
    """
    return functools.partial(mean_over_tasks, objective)


def mean_over_tasks(objective: Objective, params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
    losses, metrics = map_tasks(objective)(params, key, data, step=step)
    return losses.mean(), jax.tree.map(lambda values: values.mean(axis=0), metrics)


def on_head(objective: Objective, name: str) -> Objective:
    """Lets an objective of one encoder and one head see the head ``name`` of many.

    So several kinds of task are meta-learned with one encoder: ``mixture({name: over_tasks(on_head(learner.loss, name)), ...})``.

    Args:
      objective: of parameters ``EncoderHead(encoder, head)``.
      name: which head of ``EncoderHead(encoder, {name: head})`` it is given.
    """

    def of_all_heads(params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        return objective(EncoderHead(params.encoder, params.head[name]), key, data, step=step)

    return of_all_heads


def mixture(objectives: Objectives, weights: Mapping[str, float] | None = None) -> Objective:
    """Adds up several kinds of objective, each on its own entry of ``data``; metrics are named ``kind/metric``.

    An entry is the objective of one task (a head of a multi-task model) or ``over_tasks(...)`` of a meta-learner's loss: the
    mean within a kind, the sum across kinds.

    Args:
      objectives: by name; ``data`` is a mapping with the same names.
      weights: by name, 1 where absent.

    Raises:
      ValueError: if there is no objective, a weight names no objective, or ``data`` has other names.
    """
    weights = weights or {}
    if not objectives:
        raise ValueError("objectives must name at least one objective; got an empty mapping.")
    if unknown := sorted(set(weights) - set(objectives)):
        raise ValueError(f"weights must name objectives among {sorted(objectives)}; got {unknown}.")
    return functools.partial(weighted_sum, {name: (objectives[name], weights.get(name, 1.0)) for name in sorted(objectives)})


def weighted_sum(
    entries: dict[str, tuple[Objective, float]], params: Params, key: jax.Array, data: Any, *, step: Any = 0
) -> tuple[jax.Array, Metrics]:
    total, metrics = jnp.zeros(()), {}
    for name, task_key in split_by_name(key, entries, data):
        objective, weight = entries[name]
        value, values = objective(params, task_key, data[name], step=step)
        total += weight * value
        metrics |= prefixed(name, values)
    return total, {"loss": total} | metrics


def task_losses(objectives: Objective | Objectives) -> Objective:
    """Gives the loss of each task, ``[tasks]``, instead of their sum.

    Args:
      objectives: the objective of one task, mapped over the leading axis of ``data``; or a mapping as for :func:`mixture`, whose
        ``over_tasks`` entries give one loss per task and whose other entries give one loss each, in the order of the names.

    Returns:
      ``(params, key, data, *, step=0) -> (losses [tasks], metrics)``.
    """
    return functools.partial(_per_task, objectives, None)


def task_gradients(objectives: Objective | Objectives) -> Callable[..., tuple[tuple[jax.Array, Metrics], Params]]:
    """Gives the gradient of each task, leaves ``[tasks, ...]``, with zero rows where a parameter is foreign to the task.

    Args:
      objectives: as for :func:`task_losses`.

    Returns:
      ``(params, key, data, *, step=0) -> ((losses [tasks], metrics), gradients)``.
    """
    return functools.partial(_per_task, objectives, functools.partial(jax.value_and_grad, has_aux=True))


def _per_task(
    objectives: Objective | Objectives,
    transform: Callable[[Objective], Any] | None,
    params: Params,
    key: jax.Array,
    data: Any,
    *,
    step: Any = 0,
) -> Any:
    transform = transform or (lambda objective: objective)
    if not isinstance(objectives, Mapping):
        results, metrics = _rows(map_tasks(transform(one_task(objectives)))(params, key, data, step=step))
        return _columns(results, jax.tree.map(lambda values: values.mean(axis=0), metrics))
    parts, metrics = [], {}
    for name, task_key in split_by_name(key, objectives, data):
        objective = objectives[name]
        one = one_task(objective)
        if one is objective:
            result = jax.tree.map(lambda value: value[None], transform(objective)(params, task_key, data[name], step=step))
        else:
            result = map_tasks(transform(one))(params, task_key, data[name], step=step)
        rows, values = _rows(result)
        parts.append(rows)
        metrics |= prefixed(name, jax.tree.map(lambda values: values.mean(axis=0), values))
    rows = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return _columns(rows, {"loss": rows[0].mean()} | metrics)


def _rows(result: Any) -> tuple[tuple[Any, ...], Metrics]:
    """Parts ``(loss, metrics)`` or ``((loss, metrics), gradients)`` into ``(loss[, gradients])`` and the metrics."""
    if isinstance(result[0], tuple):
        (loss, metrics), gradients = result
        return (loss, gradients), metrics
    return (result[0],), result[1]


def _columns(rows: tuple[Any, ...], metrics: Metrics) -> Any:
    return (rows[0], metrics) if len(rows) == 1 else ((rows[0], metrics), rows[1])


def map_tasks(function: Callable[..., Any]) -> Callable[..., Any]:
    def mapped(params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> Any:
        keys = jax.random.split(key, count_tasks(data))
        return jax.vmap(functools.partial(function, step=step), in_axes=(None, 0, 0))(params, keys, data)

    return mapped


def count_tasks(data: Any) -> int:
    """Reads the length of the leading axis that all leaves share."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(data)]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(f"data must carry one leading task axis on every leaf; got shapes {shapes}.")
    return shapes[0][0]


def split_by_name(key: jax.Array, names: Mapping[str, Any], data: Any) -> Sequence[tuple[str, jax.Array]]:
    """Pairs each name, in order, with a key of its own."""
    if not isinstance(data, Mapping) or set(data) != set(names):
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f"data must be a mapping with an entry for each of {sorted(names)}; got {got}.")
    return list(zip(sorted(names), jax.random.split(key, len(names)), strict=True))


def prefixed(name: str, metrics: Metrics) -> Metrics:
    return {f"{name}/{metric}": value for metric, value in metrics.items()}


def is_combined_by(objective: Any, combinator: Callable[..., Any]) -> bool:
    return isinstance(objective, functools.partial) and objective.func is combinator


def one_task(objective: Any) -> Objective:
    """Takes ``over_tasks(objective)`` apart; anything else is the objective of one task already."""
    return objective.args[0] if is_combined_by(objective, mean_over_tasks) else objective
