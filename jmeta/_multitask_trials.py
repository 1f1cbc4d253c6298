"""A multi-task model under trial: the parts that it is built of, the batches that it is given, and what it makes of them."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta._objectives import is_combined_by, joint_gradients, task_gradients, through_features
from jmeta._types import Batch, EncoderHead, Key, Mask, Model, Objective, Params
from jmeta._variations import STRANGE, estranged, with_strange_rows
from jmeta.metrics import squared_error
from jmeta.multitask._multitask import MultitaskModel, Task, of_tasks

Build = Callable[[Model, dict[str, Task]], MultitaskModel]
PLAIN = "as it is"
STEP = 3
ROWS = 6
FEATURES = 4
# What a head gives of a row: the numbers of a plane, logits, a vector.
OUTPUTS = {"area": (2, 2), "kind": (3,), "pose": (2,)}
LOSSES = {"area": squared_error, "kind": optax.softmax_cross_entropy_with_integer_labels, "pose": squared_error}
# A third task would cost as much as each of these, and show no more.
BOTH = ("area", "kind")


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
    """What a model makes of a batch: by its objectives, each of its part, and by its joint losses."""

    objectives: Judged
    joint_losses: Judged


class Trial(NamedTuple):
    """A model and what it is tried on.

    Attributes:
      build: ``(encoder, tasks) -> model``.
      model: of two tasks.
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
    calls, given = [], draw_batch(shape, BOTH)
    model = build(*parts(BOTH, calls))
    params = jax.device_get(model.init(jax.random.key(0), strange(given, np.nan)))
    move = lambda leaf: np.asarray(leaf + 0.1 * np.sin(np.arange(leaf.size)).reshape(leaf.shape), leaf.dtype)  # noqa: E731
    return Trial(build, model, jax.tree.map(move, params), given, calls, draws, tolerance)


def parts(names: Iterable[str], calls: list[Call]) -> tuple[Model, dict[str, Task]]:
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


def draw_batch(shape: tuple[int, ...], names: Iterable[str]) -> Batch:
    """Draws inputs ``[n, *shape]`` and targets for all tasks; the first row and the last are masked."""
    generator, dtype = np.random.default_rng(0), jnp.result_type(float)
    drawn = {name: np.asarray(generator.normal(size=(ROWS, *each)), dtype) for name, each in {"x": shape, **OUTPUTS}.items()}
    drawn["kind"] = np.arange(ROWS, dtype=jnp.result_type(int)) % 3
    targets = {name: drawn[name] for name in names}
    weights = {name: np.ones(each.shape, dtype) for name, each in targets.items()}
    return Batch(drawn["x"], targets)._replace(mask=np.arange(ROWS) % (ROWS - 1) > 0, weights=weights)


def without(given: Batch, absent: Mapping[str, Any], value: float) -> Batch:
    """Gives the targets of some tasks that are ``absent [n, ...]`` the weight 0, and puts ``value`` in their place."""
    targets = {name: estranged(given.y[name], rows, value) for name, rows in absent.items()}
    weights = {name: np.where(rows, 0, given.weights[name]).astype(given.weights[name].dtype) for name, rows in absent.items()}
    return given._replace(y=given.y | targets, weights=given.weights | weights)


def missing(given: Batch, value: float) -> Batch:
    """Leaves out some targets of every task: rows of labels, entries of planes."""
    rows = {name: np.arange(each.size).reshape(each.shape) % 5 == 2 for name, each in given.weights.items()}
    return without(given, rows, value)


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


def weighed(given: Batch) -> Batch:
    """Gives each target another weight."""

    def increasing(ones: np.ndarray) -> np.ndarray:
        return np.linspace(0.5, 1.5, ones.size, dtype=ones.dtype).reshape(ones.shape)

    return given._replace(weights=jax.tree.map(increasing, given.weights))


def variants(given: Batch) -> dict[str, Batch]:
    """Changes the batch in ways that must not matter, or must; all are of the same shapes."""
    found = {PLAIN: given, "of other weights": weighed(given)}
    found |= {f"with {value} in masked rows": strange(given, value) for value in STRANGE}
    found |= {f"with {value} in missing targets": missing(given, value) for value in (0, *STRANGE)}
    found |= {f"without {name}": absent(given, name) for name in given.y}
    return found | {"without targets": absent(given, *given.y), "without rows": given._replace(mask=np.zeros(ROWS, bool))}


def make(trial: Trial) -> dict[str, Made]:
    """Gives what the model makes of all variants, and of the first by another key, in one program that is mapped over them."""
    given = variants(trial.batch) | {"by another key": trial.batch}
    params, batches = (
        jax.tree.map(lambda *leaves: np.stack(leaves), *trees) for trees in ([trial.params] * len(given), given.values())
    )
    seeds = np.array([name == "by another key" for name in given], np.uint32)
    found = jax.device_get(jax.jit(jax.vmap(functools.partial(_made, trial.model)))(params, seeds, batches))
    return {name: jax.tree.map(lambda leaf, at=at: leaf[at], found) for at, name in enumerate(given)}


def _made(model: MultitaskModel, params: Params, seed: jax.Array, given: Batch) -> Made:
    key = jax.random.key(seed)
    (values, metrics), gradients = task_gradients(model.objectives)(params, key, of_tasks(model.names, given), step=STEP)
    return Made(Judged(values, gradients, metrics), _joint(model.joint_losses, params, key, given))


def _joint(losses: Objective, params: Params, key: jax.Array, given: Batch) -> Judged:
    """Takes the gradients by way of the features where there are any, each task's on its own."""
    if not is_combined_by(losses, through_features):
        (values, metrics), gradients = joint_gradients(losses)(params, key, given, step=STEP)
        return Judged(values, gradients, metrics)
    (values, metrics), slopes, back = joint_gradients(losses, with_respect_to="features")(params, key, given, step=STEP)
    return Judged(values, EncoderHead(jax.vmap(back)(slopes.encoder), slopes.head), metrics)
