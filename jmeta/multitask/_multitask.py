"""What a multi-task model is, and how its data is named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jmeta._types import Batch, LossFn, Model, Objective, Params


class Task(NamedTuple):
    """One task of a multi-task model: its head on the shared features, and its loss."""

    head: Model
    loss_fn: LossFn


class MultitaskModel(NamedTuple):
    """A multi-task model as pure functions.

    Attributes:
      init: ``(key, data) -> EncoderHead(encoder, {name: head})`` parameters; ``data`` is ``{name: Batch}``, or the one ``Batch`` of
        tasks that share their input.
      predict: ``(params, name, x, *, key=None, mask=None) -> outputs`` of one task.
      objectives: by name, each on a ``Batch`` of its own; for ``mixture``, ``task_losses`` and ``task_gradients``.
      joint_losses: ``(params, key, Batch(x, {name: y}, mask, {name: weights}), *, step=0) -> (losses [tasks], metrics)`` in the
        order of the names, for tasks that share their input; the encoder runs once. A label that is missing has weight 0.
      names: of the tasks, in the order of their losses.
    """

    init: Callable[[jax.Array, Any], Params]
    predict: Callable[..., Any]
    objectives: dict[str, Objective]
    joint_losses: Objective
    names: tuple[str, ...]


def of_names(names: Sequence[str], data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping) or set(data) != set(names):
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f"{what} must be a mapping with an entry for each of {[*names]}; got {got}.")
    return {name: data[name] for name in names}


def of_tasks(names: Sequence[str], batch: Batch) -> dict[str, Batch]:
    """Parts ``Batch(x, {name: y}, mask, {name: weights})`` into a batch for each task.

    Raises:
      ValueError: if targets or weights do not have the names of the tasks.
    """
    targets = of_names(names, batch.y, "y")
    weights = dict.fromkeys(names) if batch.weights is None else of_names(names, batch.weights, "weights")
    return {name: Batch(batch.x, targets[name], batch.mask, weights[name]) for name in names}
