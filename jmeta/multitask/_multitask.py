"""What a multi-task model is: a trunk that gives each of several tasks its features, and a head and a loss for each."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import outputs_like, split_key
from jmeta._objectives import through_features
from jmeta._options import check_model
from jmeta._presence import all_present, mean_of_present, prefixed, with_presence
from jmeta._rows import fill, fill_batch
from jmeta._scoring import score
from jmeta._types import PRESENT, Batch, EncoderHead, Key, LossFn, Mask, Metrics, Model, Objective, Params
from jmeta._validation import check_rows


class Task(NamedTuple):
    """One task of a multi-task model: its head on its features, and its loss."""

    head: Model
    loss_fn: LossFn


class Trunk(NamedTuple):
    """A way of sharing: what is below the heads of several tasks.

    What the losses of two tasks reach is *shared*, what the loss of one reaches is its *own*. So surgery, rates of heads and
    freezing mean the same for every way of sharing.

    Attributes:
      init: ``(key, {name: x}) -> EncoderHead(shared, {name: own})``; ``x [n, ...]`` is the same for tasks that share their input.
      features: ``(EncoderHead(shared, own), representation, name, *, key=None, mask=None) -> features`` of one task, from
        ``own`` alone where there is an ``encode``; shared is then None.
      encode: ``(shared, x, *, key=None, mask=None) -> representation``, what all tasks read and is computed once for them; None
        where there is nothing of the kind, and ``features`` is given ``x``.
      reads_input: whether ``features`` is given ``(x, representation)``, as gates need that look at the input.
    """

    init: Callable[[jax.Array, dict[str, Any]], EncoderHead]
    features: Callable[..., Any]
    encode: Callable[..., Any] | None = None
    reads_input: bool = False


class MultitaskModel(NamedTuple):
    """A multi-task model as pure functions.

    Attributes:
      init: ``(key, data) -> EncoderHead(shared, {name: EncoderHead(own, head)})`` parameters; ``data`` is ``{name: Batch}``, or the
        one ``Batch`` of tasks that share their input.
      predict: ``(params, name, x, *, key=None, mask=None) -> outputs`` of one task.
      objectives: by name, each on a ``Batch`` of its own; for ``mixture``, ``task_losses`` and ``task_gradients``.
      joint_losses: ``(params, key, Batch(x, {name: y}, mask, {name: weights}), *, step=0) -> (losses [tasks], metrics)`` in the
        order of the names, for tasks that share their input; what they share runs once. A label that is missing has weight 0.
      names: of the tasks, in the order of their losses.
    """

    init: Callable[[jax.Array, Any], Params]
    predict: Callable[..., Any]
    objectives: dict[str, Objective]
    joint_losses: Objective
    names: tuple[str, ...]


def multitask_model(trunk: Trunk, tasks: Mapping[str, Task]) -> MultitaskModel:
    """Puts heads and losses on a trunk: heterogeneous tasks, each with its own output, and its own batch size where it wants one.

    Args:
      trunk: the way of sharing, such as one's own.
      tasks: by name, a head ``features -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks, or a head is no model; from the functions, if data has other names.
    """
    if not tasks:
        raise ValueError("tasks must name at least one task; got an empty mapping.")
    names = tuple(sorted(tasks))
    for name in names:
        check_model("head", tasks[name].head)

    def init(key: jax.Array, data: Batch | Mapping[str, Batch]) -> Params:
        batches = dict.fromkeys(names, data) if isinstance(data, Batch) else of_names(names, data, "data")
        x = {name: fill(batch.x, batch.mask) for name, batch in batches.items()}
        trunk_key, *keys = jax.random.split(key, len(names) + 1)
        shared, own = trunk.init(trunk_key, x)
        heads = {}
        for name, head_key in zip(names, keys, strict=True):
            features = outputs_like(functools.partial(_apply, trunk, name), EncoderHead(shared, own[name]), x[name])
            heads[name] = EncoderHead(own[name], tasks[name].head.init(head_key, features))
        return EncoderHead(shared, heads)

    def outputs_of(params: Params, x: Any, representation: Any, name: str, key: Key, mask: Mask) -> Any:
        features_key, head_key = split_key(key)
        part = params.head[name]
        features = _features(trunk, EncoderHead(params.encoder, part.encoder), x, representation, name, features_key, mask)
        return tasks[name].head.apply(part.head, features, key=head_key, mask=mask)

    def predict(params: Params, name: str, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        if name not in tasks:
            raise ValueError(f"name must be a task among {[*names]}; got {name!r}.")
        encode_key, outputs_key = split_key(key)
        x = fill(x, mask)
        representation = _encoded(trunk, params.encoder, x, encode_key, mask)
        return outputs_of(params, x, representation, name, outputs_key, mask)

    def objective(name: str) -> Objective:
        def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
            del step
            check_rows(name, batch)
            batch = fill_batch(batch)
            outputs = predict(params, name, batch.x, key=key, mask=batch.mask)
            value = score(tasks[name].loss_fn, outputs, batch, name=_loss_of(name))
            return value, with_presence({"loss": value}, batch)

        return loss

    def encode(params: Params, key: Key, batch: Batch, *, step: Any = 0) -> Any:
        del step
        if not isinstance(batch, Batch):
            raise ValueError(f"data must be one Batch(x, {{name: y}}) for joint losses; got {type(batch).__name__}.")
        check_rows("data", batch._replace(y=None))
        return _encoded(trunk, params.encoder, fill(batch.x, batch.mask), key, batch.mask)

    def losses_of(params: Params, representation: Any, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        parts = of_tasks(names, batch)
        losses, metrics, present = [], {}, []
        for name, task_key in zip(names, jax.random.split(key, len(names)), strict=True):
            part = fill_batch(parts[name])
            outputs = outputs_of(params, part.x, representation, name, task_key, batch.mask)
            losses.append(score(tasks[name].loss_fn, outputs, part, name=_loss_of(name)))
            found = with_presence({"loss": losses[-1]}, part)
            present.append(found.get(PRESENT))
            metrics |= prefixed(name, found)
        values, counted = jnp.stack(losses), all_present([(known, 1) for known in present])
        return values, {"loss": mean_of_present(values, counted.get(PRESENT))} | metrics | counted

    def joint_losses(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        return through_features(encode, losses_of, params, key, batch, step=step)

    # Only what is computed once for all tasks can be what they are compared by.
    joint = joint_losses if trunk.encode is None else functools.partial(through_features, encode, losses_of)
    return MultitaskModel(init, predict, {name: objective(name) for name in names}, joint, names)


def _encoded(trunk: Trunk, shared: Params, x: Any, key: Key, mask: Mask) -> Any:
    return x if trunk.encode is None else trunk.encode(shared, x, key=key, mask=mask)


def _features(trunk: Trunk, params: EncoderHead, x: Any, representation: Any, name: str, key: Key, mask: Mask) -> Any:
    # What a trunk encodes is all that its features see of the shared parameters.
    params = params if trunk.encode is None else EncoderHead(None, params.head)
    given = (x, representation) if trunk.reads_input else representation
    return trunk.features(params, given, name, key=key, mask=mask)


def _apply(trunk: Trunk, name: str, params: EncoderHead, x: Any) -> Any:
    return _features(trunk, params, x, _encoded(trunk, params.encoder, x, None, None), name, None, None)


def _loss_of(name: str) -> str:
    return f"loss_fn of {name}"


def of_names(names: Sequence[str], data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping) or set(data) != set(names):
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f"{what} must be a mapping with an entry for each of {[*names]}; got {got}.")
    return {name: data[name] for name in names}


def by_task(names: Sequence[str], data: Mapping[str, Batch] | Batch) -> dict[str, Batch]:
    """Gives each task its batch, whether they share their input or not.

    Raises:
      ValueError: if data does not have the names of the tasks.
    """
    return of_tasks(names, data) if isinstance(data, Batch) else of_names(names, data, "data")


def of_tasks(names: Sequence[str], batch: Batch) -> dict[str, Batch]:
    """Parts ``Batch(x, {name: y}, mask, {name: weights})`` into a batch for each task.

    Raises:
      ValueError: if targets or weights do not have the names of the tasks.
    """
    targets = of_names(names, batch.y, "y")
    weights = dict.fromkeys(names) if batch.weights is None else of_names(names, batch.weights, "weights")
    return {name: Batch(batch.x, targets[name], batch.mask, weights[name]) for name in names}
