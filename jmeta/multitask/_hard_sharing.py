"""Hard parameter sharing (Caruana, 1997, *Multitask Learning*): one encoder, one head per task."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._objectives import all_present, mean_of_present, prefixed, through_features
from jmeta._rows import fill, fill_batch
from jmeta._scoring import score, with_presence
from jmeta._types import PRESENT, Batch, EncoderHead, Key, LossFn, Mask, Metrics, Model, Objective, Params
from jmeta._validation import check_rows
from jmeta.models import compose


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


def hard_parameter_sharing(encoder: Model, tasks: Mapping[str, Task]) -> MultitaskModel:
    """Shares one encoder between heterogeneous tasks, each with its own head, loss, batch size and output.

    Args:
      encoder: ``x -> features``.
      tasks: by name, a head ``features -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks; from the functions, if data has other names.
    """
    if not tasks:
        raise ValueError("tasks must name at least one task; got an empty mapping.")
    names = tuple(sorted(tasks))
    models = {name: compose(encoder, tasks[name].head) for name in names}

    def init(key: jax.Array, data: Batch | Mapping[str, Batch]) -> Params:
        x = {name: (data if isinstance(data, Batch) else _of_names(names, data, "data")[name]).x for name in names}
        # Every head with its own key; the encoder with the first.
        keys = jax.random.split(key, len(names))
        params = {name: models[name].init(head_key, x[name]) for name, head_key in zip(names, keys, strict=True)}
        return EncoderHead(params[names[0]].encoder, {name: params[name].head for name in names})

    def predict(params: Params, name: str, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        if name not in models:
            raise ValueError(f"name must be a task among {[*names]}; got {name!r}.")
        return models[name].apply(EncoderHead(params.encoder, params.head[name]), fill(x, mask), key=key, mask=mask)

    def objective(name: str) -> Objective:
        def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
            del step
            check_rows(name, batch)
            batch = fill_batch(batch)
            outputs = predict(params, name, batch.x, key=key, mask=batch.mask)
            value = score(tasks[name].loss_fn, outputs, batch)
            return value, with_presence({"loss": value}, batch)

        return loss

    def encode(params: Params, key: Key, batch: Batch, *, step: Any = 0) -> Any:
        del step
        if not isinstance(batch, Batch):
            raise ValueError(f"data must be one Batch(x, {{name: y}}) for joint losses; got {type(batch).__name__}.")
        check_rows("data", batch._replace(y=None))
        return encoder.apply(params.encoder, fill(batch.x, batch.mask), key=key, mask=batch.mask)

    def losses_of(params: Params, features: Any, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        parts = of_tasks(names, batch._replace(x=features))
        losses, metrics, present = [], {}, []
        for name, head_key in zip(names, jax.random.split(key, len(names)), strict=True):
            part = fill_batch(parts[name])
            outputs = tasks[name].head.apply(params.head[name], features, key=head_key, mask=batch.mask)
            losses.append(score(tasks[name].loss_fn, outputs, part))
            found = with_presence({"loss": losses[-1]}, part)
            present.append(found.get(PRESENT))
            metrics |= prefixed(name, found)
        values, counted = jnp.stack(losses), all_present([(known, 1) for known in present])
        return values, {"loss": mean_of_present(values, counted.get(PRESENT))} | metrics | counted

    joint_losses = functools.partial(through_features, encode, losses_of)
    return MultitaskModel(init, predict, {name: objective(name) for name in names}, joint_losses, names)


def _of_names(names: Sequence[str], data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping) or set(data) != set(names):
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f"{what} must be a mapping with an entry for each of {[*names]}; got {got}.")
    return {name: data[name] for name in names}


def of_tasks(names: Sequence[str], batch: Batch) -> dict[str, Batch]:
    """Parts ``Batch(x, {name: y}, mask, {name: weights})`` into a batch for each task.

    Raises:
      ValueError: if targets or weights do not have the names of the tasks.
    """
    targets = _of_names(names, batch.y, "y")
    weights = dict.fromkeys(names) if batch.weights is None else _of_names(names, batch.weights, "weights")
    return {name: Batch(batch.x, targets[name], batch.mask, weights[name]) for name in names}
