"""Hard parameter sharing (Caruana, 1997, *Multitask Learning*): one encoder, one head per task."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._objectives import score
from jmeta._types import Batch, EncoderHead, LossFn, Metrics, Model, Objective, Params
from jmeta.models import compose


class Task(NamedTuple):
    """One task of a multi-task model: its head on the shared features, and its loss."""

    head: Model
    loss_fn: LossFn


class MultitaskModel(NamedTuple):
    """A multi-task model as pure functions.

    Attributes:
      init: ``(key, {name: Batch}) -> EncoderHead(encoder, {name: head})`` parameters.
      predict: ``(params, name, x, *, key=None, mask=None) -> outputs`` of one task.
      objectives: by name, each on a ``Batch`` of its own; for ``mixture``, ``task_losses`` and ``task_gradients``.
      joint_losses: ``(params, key, Batch(x, {name: y}), *, step=0) -> (losses [tasks], metrics)`` in the order of the names, for
        tasks that share their input; the encoder runs once.
    """

    init: Callable[[jax.Array, Mapping[str, Batch]], Params]
    predict: Callable[..., jax.Array]
    objectives: dict[str, Objective]
    joint_losses: Objective


def hard_parameter_sharing(encoder: Model, tasks: Mapping[str, Task]) -> MultitaskModel:
    """Shares one encoder between heterogeneous tasks, each with its own head, loss, batch size and output.

    Args:
      encoder: ``x [n, ...] -> features [n, d]``.
      tasks: by name, a head ``[n, d] -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks, or ``init`` is given data with other names.
    """
    if not tasks:
        raise ValueError("tasks must name at least one task; got an empty mapping.")
    names = sorted(tasks)
    models = {name: compose(encoder, tasks[name].head) for name in names}

    def init(key: jax.Array, data: Mapping[str, Batch]) -> Params:
        if sorted(data) != names:
            raise ValueError(f"data must have an entry for each of {names}; got {sorted(data)}.")
        # Every head with its own key; the encoder with the first.
        keys = jax.random.split(key, len(names))
        params = {name: models[name].init(head_key, data[name].x) for name, head_key in zip(names, keys, strict=True)}
        return EncoderHead(params[names[0]].encoder, {name: params[name].head for name in names})

    def predict(
        params: Params, name: str, x: jax.Array, *, key: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        return models[name].apply(EncoderHead(params.encoder, params.head[name]), x, key=key, mask=mask)

    def objective(name: str) -> Objective:
        def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
            del step
            outputs = predict(params, name, batch.x, key=key, mask=batch.mask)
            value = score(tasks[name].loss_fn, outputs, batch)
            return value, {"loss": value}

        return loss

    def joint_losses(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        encoder_key, *keys = jax.random.split(key, len(names) + 1)
        features = encoder.apply(params.encoder, batch.x, key=encoder_key, mask=batch.mask)
        losses = []
        for name, head_key in zip(names, keys, strict=True):
            outputs = tasks[name].head.apply(params.head[name], features, key=head_key, mask=batch.mask)
            losses.append(score(tasks[name].loss_fn, outputs, Batch(features, batch.y[name], batch.mask)))
        values = jnp.stack(losses)
        return values, {"loss": values.mean()} | {f"{name}/loss": value for name, value in zip(names, losses, strict=True)}

    return MultitaskModel(init, predict, {name: objective(name) for name in names}, joint_losses)
