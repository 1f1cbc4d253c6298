"""Several settings and several seeds of one training: in one compiled program where they fit, and chosen on validation."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._estimates import Estimate, estimate
from jmeta._options import check_counts
from jmeta._steps import Step, TrainState
from jmeta._types import PRESENT, Metrics, Params, Sampler
from jmeta.training import Best, Validation, fit

Values = Mapping[str, Any]


class Trial(NamedTuple):
    """One training of a sweep.

    Attributes:
      step: from :func:`jmeta.make_step`.
      init: ``(key) -> state``, from :func:`jmeta.init_state`.
      validation: ``params -> metrics`` with a ``loss``, such as a :func:`jmeta.validator`.
      on_host: whether the validation takes concrete parameters alone and is the same whatever numbers are tried, so that it is
        called outside of compiled programs.
    """

    step: Step
    init: Callable[[jax.Array], TrainState]
    validation: Validation
    on_host: bool = False


class Sweep(NamedTuple):
    """What a sweep found.

    Attributes:
      values: of each setting.
      losses: ``[settings, seeds]``, the lowest validation losses; infinite where none was finite.
      steps: ``[settings, seeds]``, the steps of these.
      estimates: of each setting, the mean over the seeds; the half-width is NaN with one seed.
      chosen: the setting with the lowest mean.
      params: the best parameters of the chosen setting, leaves ``[seeds, ...]``.
    """

    values: tuple[Values, ...]
    losses: np.ndarray
    steps: np.ndarray
    estimates: tuple[Estimate, ...]
    chosen: int
    params: Params


class Swept(NamedTuple):
    """What is trained where settings run side by side: parameters, the values they are trained with, and whether they still are.

    A training that leaves the finite numbers stands still from there, and does not stop the others.
    """

    values: dict[str, jax.Array]
    alive: jax.Array
    params: Params


def sweep(
    trial: Callable[..., Trial],
    values: Mapping[str, Sequence[Any]],
    tasks: Sampler,
    *,
    num_steps: int,
    seeds: int = 1,
    at_once: int | None = None,
    directory: str | Path | None = None,
    steps_per_chunk: int = 100,
    validate_every: int | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Trains every combination of values with every seed, and chooses the one with the lowest mean validation loss.

    Numbers with a fraction, such as rates and strengths, are traced: settings that differ in these alone, and all seeds, are one
    compiled program and run side by side. Of other values (counts, names), and where ``trial`` has to know a number, each setting
    is a program of its own, one after another. Seeds are paired: every setting sees the same tasks in the same order.

    Args:
      trial: makes the training of one combination, ``trial(inner_rate=0.1) -> Trial``.
      values: by the name of an argument of ``trial``, those to try.
      tasks: a sampler of a step's data.
      num_steps: training steps of each.
      seeds: how many, from 0.
      at_once: settings that run side by side, each with all seeds; all by default. Fewer need less memory.
      directory: where metrics and checkpoints go, a folder for each program; what has been trained there is not trained again.
      steps_per_chunk: as for :func:`jmeta.fit`.
      validate_every: as for :func:`jmeta.fit`.
      progress: as for :func:`jmeta.fit`.

    Raises:
      ValueError: if there is nothing to try or a count is below 1, and as :func:`jmeta.fit`.
      FloatingPointError: if no setting had a finite validation loss.
    """
    if not values or not all(len(tried) for tried in values.values()):
        raise ValueError(f"values must name at least one value for each argument; got {dict(values)}.")
    check_counts(seeds=seeds, at_once=at_once)
    settings = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    traced = {name for name, tried in values.items() if any(isinstance(value, float) for value in tried)}
    options = {"num_steps": num_steps, "steps_per_chunk": steps_per_chunk, "validate_every": validate_every, "progress": progress}
    found: dict[int, Best] = {}
    for number, (group, names) in enumerate(_programs(trial, settings, traced, at_once)):
        place = None if directory is None else Path(directory) / f"program-{number}"
        start, step, validation = _side_by_side(trial, [settings[index] for index in group], names, seeds)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no validation loss")
            best = fit(step, start, tasks, validation=validation, directory=place, resume=place is not None, **options).best
        if best is not None:
            parts = jax.tree.map(lambda leaf, group=group: leaf.reshape(len(group), seeds, *leaf.shape[1:]), best)
            found |= {index: jax.tree.map(lambda leaf, at=at: leaf[at], parts) for at, index in enumerate(group)}
    losses = np.array([found[index].loss if index in found else [np.inf] * seeds for index in range(len(settings))], np.float64)
    steps = np.array([found[index].step if index in found else [0] * seeds for index in range(len(settings))])
    means = losses.mean(axis=1)
    if not np.isfinite(means).any():
        raise FloatingPointError(
            f"no setting had a finite validation loss with every seed; got {losses.tolist()}: try lower rates."
        )
    estimates = tuple(estimate(row) if seeds > 1 else Estimate(float(row[0]), math.nan) for row in losses)
    chosen = int(means.argmin())
    return Sweep(tuple(settings), losses, steps, estimates, chosen, found[chosen].params.params)


def _programs(
    trial: Callable[..., Trial], settings: Sequence[Values], traced: set[str], at_once: int | None
) -> Iterator[tuple[list[int], set[str]]]:
    """Gives the settings of each program, and the names of its traced values."""
    groups: dict[Any, list[int]] = {}
    for index, setting in enumerate(settings):
        groups.setdefault(tuple((name, value) for name, value in setting.items() if name not in traced), []).append(index)
    for group in groups.values():
        names = traced if traced and _takes_traced(trial, settings[group[0]], traced) else set()
        size = (at_once or len(group)) if names else 1
        yield from ((group[start : start + size], names) for start in range(0, len(group), size))


def _takes_traced(trial: Callable[..., Trial], setting: Values, traced: set[str]) -> bool:
    known, numbers = _parted(setting, traced)
    try:
        jax.eval_shape(lambda numbers: trial(**known, **numbers).init(jax.random.key(0)), numbers)
    except jax.errors.ConcretizationTypeError:
        return False
    return True


def _side_by_side(
    trial: Callable[..., Trial], settings: Sequence[Values], traced: set[str], seeds: int
) -> tuple[TrainState, Step, Validation]:
    """Makes one training of several settings and seeds, ``[settings * seeds, ...]``, whose values are part of what is trained."""
    known, _ = _parted(settings[0], traced)
    rows = [_parted(setting, traced)[1] for setting in settings for _ in range(seeds)]
    numbers = {name: jnp.array([row[name] for row in rows]) for name in rows[0]}
    keys = jnp.tile(jax.vmap(jax.random.key)(jnp.arange(seeds)), len(settings))

    def init(numbers: dict[str, jax.Array], key: jax.Array) -> TrainState:
        state = trial(**known, **numbers).init(key)
        return state._replace(params=Swept(numbers, jnp.ones((), bool), state.params))

    def step(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        numbers, alive, params = state.params
        state = state._replace(params=params)
        moved, metrics = trial(**known, **numbers).step(state, data)
        finite = [jnp.isfinite(leaf).all() for leaf in (metrics["loss"], *jax.tree.leaves(moved.params))]
        alive = alive & jnp.stack(finite).all()
        kept = jax.tree.map(lambda new, old: jnp.where(alive, new, old), moved._replace(key=()), state._replace(key=()))
        metrics = metrics | {"loss": jnp.where(alive, metrics["loss"], 0), PRESENT: alive & metrics.get(PRESENT, True)}
        return kept._replace(key=state.key, step=moved.step, params=Swept(numbers, alive, kept.params)), metrics

    first = trial(**known, **rows[0])

    def validate(swept: Swept) -> Metrics:
        validation = first.validation if first.on_host else trial(**known, **swept.values).validation
        metrics = validation(swept.params)
        return dict(metrics) | {"loss": jnp.where(swept.alive, metrics["loss"], jnp.inf)}

    return jax.jit(jax.vmap(init))(numbers, keys), step, validate if first.on_host else jax.jit(validate)


def _parted(setting: Values, traced: set[str]) -> tuple[dict[str, Any], dict[str, float]]:
    known = {name: value for name, value in setting.items() if name not in traced}
    return known, {name: float(setting[name]) for name in traced}
