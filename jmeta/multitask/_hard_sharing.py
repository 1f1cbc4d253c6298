"""Hard parameter sharing (Caruana, 1997, *Multitask Learning*): one encoder, one head per task."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._objectives import through_features
from jmeta._presence import all_present, mean_of_present, prefixed, with_presence
from jmeta._rows import fill, fill_batch
from jmeta._scoring import score
from jmeta._types import PRESENT, Batch, EncoderHead, Key, Mask, Metrics, Model, Objective, Params
from jmeta._validation import check_rows
from jmeta.models import compose
from jmeta.multitask._multitask import MultitaskModel, Task, of_names, of_tasks


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
        batches = dict.fromkeys(names, data) if isinstance(data, Batch) else of_names(names, data, "data")
        x = {name: fill(batch.x, batch.mask) for name, batch in batches.items()}
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
