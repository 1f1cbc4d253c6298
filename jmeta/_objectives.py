"""From one task to many: means over tasks and kinds of task, and one loss or gradient per task.

These are the only places that map the task axis.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._presence import all_present, any_present, mean_metrics, mean_of_present, prefixed
from jmeta._types import PRESENT, EncoderHead, Metrics, Objective, Objectives, Params


def over_tasks(objective: Objective) -> Objective:
    """Averages an objective of one task over those tasks of a batch, leaves ``[tasks, ...]``, in which anything counts.

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
    return mean_of_present(losses, metrics.get(PRESENT)), mean_metrics(metrics)


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
    total, metrics, present = jnp.zeros(()), {}, []
    for name, task_key in split_by_name(key, entries, data):
        objective, weight = entries[name]
        value, values = objective(params, task_key, data[name], step=step)
        total += weight * value
        present.append(values.get(PRESENT))
        metrics |= prefixed(name, values)
    return total, {"loss": total} | metrics | any_present(present)


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


def joint_gradients(losses: Any, *, with_respect_to: str = "parameters") -> Callable[..., Any]:
    """Gives the gradient of each of several losses that are computed together, leaves ``[tasks, ...]``.

    For tasks that share their input: what comes before the heads runs forward once, and back once for each task; with respect to
    the features once in all, after the aggregation (Sener and Koltun, 2018, 1810.04650, section 3.3, call this an upper bound).

    Args:
      losses: ``(params, key, data, *, step=0) -> (losses [tasks], metrics)``, such as the ``joint_losses`` of a multi-task model.
      with_respect_to: ``"parameters"``, or ``"features"``: what the tasks share is then compared by its last activations.

    Returns:
      ``(params, key, data, *, step=0) -> ((losses [tasks], metrics), gradients)``; with respect to features, what comes third is
      the function from a combined gradient of the features to that of the shared parameters.

    Raises:
      ValueError: if ``with_respect_to`` is unknown, or the losses do not say what their features are.
    """
    if with_respect_to == "parameters":
        return functools.partial(_joint, losses)
    if with_respect_to != "features":
        raise ValueError(f"with_respect_to must be parameters or features; got {with_respect_to!r}.")
    if not is_combined_by(losses, through_features):
        raise ValueError(
            "losses must be the joint_losses of a multi-task model to be compared by features; got losses without any."
        )
    return functools.partial(_joint_by_features, *losses.args)


def through_features(
    encode: Callable[..., Any], losses_of: Callable[..., Any], params: Params, key: jax.Array, data: Any, *, step: Any = 0
) -> tuple[jax.Array, Metrics]:
    """Computes losses from what tasks share: ``losses_of(params, features, key, data)`` of ``encode(params, key, data)``."""
    encode_key, losses_key = jax.random.split(key)
    features = encode(params, encode_key, data, step=step)
    return losses_of(params, features, losses_key, data, step=step)


def _joint(losses: Objective, params: Params, key: jax.Array, data: Any, *, step: Any = 0) -> Any:
    values, pullback, metrics = jax.vjp(lambda params: losses(params, key, data, step=step), params, has_aux=True)
    return (values, metrics), _one_by_one(values, lambda one: pullback(one)[0])


def _joint_by_features(
    encode: Callable[..., Any], losses_of: Callable[..., Any], params: Params, key: jax.Array, data: Any, *, step: Any = 0
) -> Any:
    encode_key, losses_key = jax.random.split(key)
    features, back = jax.vjp(lambda params: encode(params, encode_key, data, step=step), params)
    values, pullback, metrics = jax.vjp(
        lambda params, features: losses_of(params, features, losses_key, data, step=step), params, features, has_aux=True
    )
    of_params, of_features = _one_by_one(values, pullback)
    return (values, metrics), EncoderHead(of_features, of_params.head), lambda combined: back(combined)[0].encoder


def _one_by_one(values: jax.Array, pullback: Callable[[jax.Array], Any]) -> Any:
    if values.ndim != 1:
        raise ValueError(f"losses must give one loss per task, [tasks]; got shape {values.shape}.")
    return jax.vmap(pullback)(jnp.eye(len(values), dtype=values.dtype))


def is_per_task(objective: Any) -> bool:
    """Says whether an objective is ``task_losses`` or ``task_gradients`` of the objectives that are its first argument."""
    return is_combined_by(objective, _per_task)


def gives_gradients(objective: Any) -> bool:
    """Says whether an objective gives the gradients of tasks and not a loss."""
    per_task = is_per_task(objective) and objective.args[1] is not None
    return per_task or is_combined_by(objective, _joint) or is_combined_by(objective, _joint_by_features)


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
        rows, metrics = _rows(map_tasks(transform(one_task(objectives)))(params, key, data, step=step))
        present = metrics.get(PRESENT)
        return _columns(rows, mean_metrics(metrics) | ({} if present is None else {PRESENT: present}))
    parts, metrics, present = [], {}, []
    for name, task_key in split_by_name(key, objectives, data):
        objective = objectives[name]
        one = one_task(objective)
        if one is objective:
            result = jax.tree.map(lambda value: value[None], transform(objective)(params, task_key, data[name], step=step))
        else:
            result = map_tasks(transform(one))(params, task_key, data[name], step=step)
        rows, values = _rows(result)
        parts.append(rows)
        present.append((values.get(PRESENT), len(rows[0])))
        metrics |= prefixed(name, mean_metrics(values))
    rows, counted = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts), all_present(present)
    return _columns(rows, {"loss": mean_of_present(rows[0], counted.get(PRESENT))} | metrics | counted)


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


def is_combined_by(objective: Any, combinator: Callable[..., Any]) -> bool:
    return isinstance(objective, functools.partial) and objective.func is combinator


def one_task(objective: Any) -> Objective:
    """Takes ``over_tasks(objective)`` apart; anything else is the objective of one task already."""
    return objective.args[0] if is_combined_by(objective, mean_over_tasks) else objective
