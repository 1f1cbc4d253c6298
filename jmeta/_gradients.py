"""The gradient that the trainer calls: a few tasks at a time, so that memory does not grow with the tasks."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._objectives import count_tasks, is_combined_by, mean_over_tasks, one_task, split_by_name, weighted_sum
from jmeta._options import check_counts
from jmeta._precision import add_scaled
from jmeta._presence import any_present, prefixed, sum_metrics
from jmeta._types import PRESENT, Metrics, Objective, Params

ValueAndGradient = Callable[..., tuple[tuple[jax.Array, Metrics], Params]]


def value_and_gradient(objective: Objective, *, micro_batch: int | None = None) -> ValueAndGradient:
    """Differentiates an objective, a few tasks at a time.

    Differentiating a mapped loss keeps the activations of every task; here gradients are accumulated over groups of
    ``micro_batch`` tasks.

    Args:
      objective: for ``micro_batch`` to apply, ``over_tasks(...)`` or a ``mixture`` of such.
      micro_batch: how many tasks run at once; None runs all of them.

    Returns:
      ``(params, key, data, *, step=0) -> ((loss, metrics), gradient)``.

    Raises:
      ValueError: if ``micro_batch`` does not divide the number of tasks, or the objective has no task axis.
    """
    if micro_batch is None:
        return jax.value_and_grad(objective, has_aux=True)
    check_counts(micro_batch=micro_batch)
    if is_combined_by(objective, weighted_sum):
        return functools.partial(_mixed_value_and_gradient, objective, micro_batch)
    if is_combined_by(objective, mean_over_tasks):
        return functools.partial(_micro_batched, objective, micro_batch)
    raise ValueError(f"micro_batch={micro_batch} needs an objective with a task axis: over_tasks(...) or a mixture of such.")


def _mixed_value_and_gradient(
    objective: Any, micro_batch: int, params: Params, key: jax.Array, data: Any, *, step: Any = 0
) -> tuple[tuple[jax.Array, Metrics], Params]:
    (entries,) = objective.args
    total, metrics, gradient, present = jnp.zeros(()), {}, optax.tree.zeros_like(params), []
    for name, task_key in split_by_name(key, entries, data):
        one, weight = entries[name]
        differentiate = value_and_gradient(one, micro_batch=micro_batch if _has_task_axis(one) else None)
        (value, values), part = differentiate(params, task_key, data[name], step=step)
        total += weight * value
        metrics |= prefixed(name, values)
        present.append(values.get(PRESENT))
        gradient = add_scaled(gradient, weight, part)
    return (total, {"loss": total} | metrics | any_present(present)), gradient


def _has_task_axis(objective: Any) -> bool:
    return is_combined_by(objective, mean_over_tasks) or is_combined_by(objective, weighted_sum)


def _micro_batched(
    objective: Any, micro_batch: int, params: Params, key: jax.Array, data: Any, *, step: Any = 0
) -> tuple[tuple[jax.Array, Metrics], Params]:
    tasks = count_tasks(data)
    if tasks % micro_batch:
        raise ValueError(f"micro_batch must divide the number of tasks; got micro_batch={micro_batch} and {tasks} tasks.")
    one = one_task(objective)

    def of_group(key: jax.Array, data: Any) -> Any:
        if micro_batch == 1:
            # Not a vmap of size one: a convolution would stay grouped.
            first = jax.tree.map(lambda leaf: leaf[0], (key, data))
            (loss, metrics), gradient = jax.value_and_grad(one, has_aux=True)(params, *first, step=step)
            return (loss, sum_metrics(jax.tree.map(lambda value: value[None], metrics))), gradient

        def total(params: Params) -> tuple[jax.Array, Any]:
            losses, metrics = jax.vmap(functools.partial(one, step=step), in_axes=(None, 0, 0))(params, key, data)
            return losses.sum(), sum_metrics(metrics)

        return jax.value_and_grad(total, has_aux=True)(params)

    def accumulate(total: Params, group: Any) -> tuple[Params, Any]:
        found, gradient = of_group(*group)
        return optax.tree.add(total, gradient), found

    # A scan and not optax.microbatching, which traces the objective a second time for its shapes: a quarter of a cold start.
    groups = jax.tree.map(functools.partial(_groups, size=micro_batch), (jax.random.split(key, tasks), data))
    total, found = jax.lax.scan(accumulate, optax.tree.zeros_like(params), groups)
    loss, (metrics, present) = jax.tree.map(lambda sums: sums.sum(axis=0), found)
    # A task in which nothing counts has a loss and a gradient of zeros.
    count = tasks if present is None else jnp.maximum(present, 1)
    loss, metrics = jax.tree.map(lambda sums: sums / count, (loss, metrics))
    gradient = jax.tree.map(lambda leaf: (leaf / count).astype(leaf.dtype), total)
    return (loss, metrics if present is None else metrics | {PRESENT: present > 0}), gradient


def _groups(leaf: jax.Array, size: int) -> jax.Array:
    """Parts tasks into groups, ``[groups, size, ...]``, that take one task from each of ``size`` blocks.

    So tasks that lie on devices in blocks stay where they are.
    """
    return leaf.reshape(size, -1, *leaf.shape[1:]).swapaxes(0, 1)
