"""A multi-task model under trial: the parts that it is built of, the batches that it is given, and what it makes of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta._objectives import is_combined_by, joint_gradients, task_gradients, through_features
from jmeta._scoring import score
from jmeta._trials import check_close
from jmeta._types import Batch, EncoderHead, Key, Mask, Model, Params
from jmeta._variations import STRANGE, estranged, with_strange_rows
from jmeta.metrics import squared_error
from jmeta.multitask._multitask import MultitaskModel, Task, of_tasks

Build = Callable[[Model, dict[str, Task]], MultitaskModel]
STEP = 3
ROWS = 6
FEATURES = 4
# What a head gives of a row: numbers of a plane, logits, a vector.
OUTPUTS = {"area": (2, 2), "kind": (3,), "pose": (2,)}
LOSSES = {"area": squared_error, "kind": optax.softmax_cross_entropy_with_integer_labels, "pose": squared_error}
# Targets that are missing from the second row to the fourth: of planes some entries, or all.
MISSING = {"area": [[[1, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], "kind": [0, 1, 0], "pose": [1, 0, 1]}


class Call(NamedTuple):
    """A run of a part, ``encoder`` or a head, and whether it was given a ``key`` and a ``mask``."""

    part: str
    key: bool
    mask: bool


class Judged(NamedTuple):
    """What several tasks cost: ``values [tasks]``, their ``gradients``, leaves ``[tasks, ...]``, and ``metrics``."""

    values: Any
    gradients: Params
    metrics: dict[str, Any]


class Made(NamedTuple):
    """What a model makes of a batch.

    Attributes:
      objectives: what the objectives say, each of its part of the batch.
      joint_losses: what the joint losses say.
      by_features: the gradient of their sum by way of the features; None where there are none.
      outputs: of ``predict`` without a key, by name.
      scores: the losses of the outputs, ``[tasks]``.
    """

    objectives: Judged
    joint_losses: Judged
    by_features: Params | None
    outputs: dict[str, Any]
    scores: Any

    def losses(self) -> dict[str, Judged]:
        return {"objectives": self.objectives, "joint_losses": self.joint_losses}


class Trial(NamedTuple):
    """A model and what it is tried on.

    Attributes:
      build: ``(encoder, tasks) -> model``.
      model: of three tasks.
      params: its parameters, a little off the initial ones, whose gradients may be a coincidence.
      batch: of all tasks, with masked rows and weights of 1.
      calls: grows by one with every run of a part, of which there is one a trace.
      draws: whether the model draws random numbers in training.
      tolerance: the largest difference between equal quantities, relative to one plus their norm.
    """

    build: Build
    model: MultitaskModel
    params: Params
    batch: Batch
    calls: list[Call]
    draws: bool
    tolerance: float


def begin(build: Build, shape: tuple[int, ...], *, draws: bool, tolerance: float) -> Trial:
    """Builds the model and makes its parameters and its data; nothing else is computed."""
    calls, given = [], batch(shape)
    model = build(*parts(OUTPUTS, calls))
    params = jax.device_get(model.init(jax.random.key(0), strange(given, np.nan)))
    move = lambda leaf: np.asarray(leaf + 0.1 * np.sin(np.arange(leaf.size)).reshape(leaf.shape), leaf.dtype)  # noqa: E731
    return Trial(build, model, jax.tree.map(move, params), given, calls, draws, tolerance)


def parts(names: Any, calls: list[Call]) -> tuple[Model, dict[str, Task]]:
    """Makes an encoder of channels, and heads of flattened features, that say by ``calls`` when they run."""

    def part(name: str, size: int, apply: Callable[[Params, Any], Any]) -> Model:
        def init(key: jax.Array, x: Any) -> Params:
            inputs = x.shape[-1] if name == "encoder" else x[0].size
            return jax.random.normal(key, (inputs, size), x.dtype)

        def run(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
            calls.append(Call(name, key is not None, mask is not None))
            return apply(params, x)

        return Model(init, run)

    def head(name: str) -> Model:
        shape = OUTPUTS[name]
        return part(name, int(np.prod(shape)), lambda params, x: (x.reshape(len(x), -1) @ params).reshape(len(x), *shape))

    # In an order that is not alphabetical.
    tasks = {name: Task(head(name), LOSSES[name]) for name in sorted(names, reverse=True)}
    return part("encoder", FEATURES, lambda params, x: jnp.tanh(x @ params)), tasks


def batch(shape: tuple[int, ...]) -> Batch:
    """Draws inputs ``[n, *shape]`` and targets for all tasks; the first row and the last are masked."""
    generator, dtype = np.random.default_rng(0), jnp.result_type(float)
    drawn = {name: np.asarray(generator.normal(size=(ROWS, *shape)), dtype) for name, shape in OUTPUTS.items()}
    targets = drawn | {"kind": np.arange(ROWS) % 3}
    weights = {name: np.ones((ROWS, *np.shape(MISSING[name])[1:]), dtype) for name in targets}
    x = np.asarray(generator.normal(size=(ROWS, *shape)), dtype)
    return Batch(x, targets, np.arange(ROWS) % (ROWS - 1) > 0, weights)


def without(given: Batch, absent: Mapping[str, Any], value: float) -> Batch:
    """Gives the targets of some tasks that are ``absent [n, ...]`` the weight 0, and puts ``value`` in their place."""
    targets = {name: estranged(given.y[name], rows, value) for name, rows in absent.items()}
    weights = {name: np.where(rows, 0, given.weights[name]).astype(given.weights[name].dtype) for name, rows in absent.items()}
    return given._replace(y=given.y | targets, weights=given.weights | weights)


def missing(given: Batch, value: float) -> Batch:
    """Leaves out some targets of every task."""
    edge = lambda rows: [(1, ROWS - 1 - len(rows))] + [(0, 0)] * (np.ndim(rows) - 1)  # noqa: E731
    return without(given, {name: np.pad(np.array(rows, bool), edge(rows)) for name, rows in MISSING.items()}, value)


def absent(given: Batch, *names: str) -> Batch:
    """Leaves out all targets of some tasks."""
    return without(given, {name: np.ones(given.weights[name].shape, bool) for name in names}, np.nan)


def strange(given: Batch, value: float) -> Batch:
    """Puts ``value`` into masked rows."""
    return with_strange_rows(given, ~np.asarray(given.mask), value)


def own(given: Batch) -> dict[str, Batch]:
    """Takes for each task the rows that have its target: batches of other sizes, without masks, and without weights of 1."""
    found = {}
    for name, part in of_tasks(sorted(given.y), given).items():
        rows = part.mask & (part.weights.reshape(ROWS, -1) != 0).any(axis=1)
        weights = part.weights[rows]
        found[name] = Batch(part.x[rows], part.y[rows], None, None if weights.all() else weights)
    return found


def variants(given: Batch) -> dict[str, Batch]:
    """Changes the batch in ways that must not matter, or must; all are of the same shapes."""
    increasing = {name: np.linspace(0.5, 1.5, ones.size, dtype=ones.dtype).reshape(ones.shape) for name, ones in given.weights.items()}
    found = {"as it is": given, "of other weights": given._replace(weights=increasing)}
    found |= {f"with {value} in masked rows": strange(given, value) for value in STRANGE}
    found |= {f"with {value} in missing targets": missing(given, value) for value in (0, *STRANGE)}
    found |= {f"without {name}": absent(given, name) for name in OUTPUTS}
    return found | {"without targets": absent(given, *OUTPUTS), "without rows": given._replace(mask=np.zeros(ROWS, bool))}


def make(trial: Trial) -> dict[str, Made]:
    """Gives what the model makes of all variants, and of the first by another key, in one program that is mapped over them."""
    given = variants(trial.batch)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *given.values(), trial.batch)
    seeds, count = np.array([0] * len(given) + [1], np.uint32), len(given) + 1
    params = jax.tree.map(lambda leaf: np.stack([leaf] * count), trial.params)
    found = jax.device_get(jax.jit(jax.vmap(lambda *given: _made(trial.model, *given)))(params, seeds, stacked))
    return {name: jax.tree.map(lambda leaf: leaf[at], found) for at, name in enumerate([*given, "by another key"])}  # noqa: B023


def _made(model: MultitaskModel, params: Params, seed: jax.Array, given: Batch) -> Made:
    key, parts = jax.random.key(seed), of_tasks(model.names, given)
    (values, metrics), gradients = task_gradients(model.objectives)(params, key, parts, step=STEP)
    (joint, said), slopes = joint_gradients(model.joint_losses)(params, key, given, step=STEP)
    outputs = {name: model.predict(params, name, part.x, mask=part.mask) for name, part in parts.items()}
    scores = jnp.stack([score(LOSSES[name], outputs[name], part) for name, part in parts.items()])
    by_features = _by_features(model, params, key, given)
    return Made(Judged(values, gradients, metrics), Judged(joint, slopes, said), by_features, outputs, scores)


def _by_features(model: MultitaskModel, params: Params, key: jax.Array, given: Batch) -> Params | None:
    if not is_combined_by(model.joint_losses, through_features):
        return None
    _, slopes, back = joint_gradients(model.joint_losses, with_respect_to="features")(params, key, given, step=STEP)
    total = jax.tree.map(lambda leaf: leaf.sum(axis=0), slopes)
    return EncoderHead(back(total.encoder), total.head)
