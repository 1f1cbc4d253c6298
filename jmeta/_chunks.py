"""Chunks of training steps: one compiled loop for tasks drawn on the device, step by step for tasks from the host."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._steps import Step, TrainState, step_keys
from jmeta._types import PRESENT, Metrics, Params, Sampler

HostData = Callable[[int], Any]
Logs = Mapping[str, np.ndarray]
Chunk = Callable[[TrainState, int], tuple[TrainState, Logs, np.ndarray]]


def device_chunks(step: Step, sampler: Sampler, size: int) -> Chunk:
    """Builds ``(state, count) -> (state, logs, finite)``, which runs up to ``size`` steps in one compiled loop.

    The state's buffers are given away. The logs are ``[count, ...]``, or ``[count, seeds, ...]`` for a state of several seeds;
    ``finite`` says whether every parameter is.
    """
    run = _device_loop(step, sampler.sample, size)

    def chunk(state: TrainState, count: int) -> tuple[TrainState, Logs, np.ndarray]:
        state, logs, finite = run(state, sampler.data, jax.device_put(np.int32(count)))
        logs, finite = jax.device_get((logs, finite))
        return state, {name: log[:count] for name, log in logs.items()}, finite

    return chunk


def host_chunks(step: Step, tasks: HostData, first: int, last: int) -> Chunk:
    """Builds the same from a function ``step -> data`` on the host, which is called once for each step, one ahead.

    Several seeds see the same data.
    """
    advance = _host_step(step)
    ahead = _one_ahead(tasks, first, last)

    def chunk(state: TrainState, count: int) -> tuple[TrainState, Logs, np.ndarray]:
        steps = []
        for data in itertools.islice(ahead, count):
            state, metrics = advance(state, data)
            steps.append(metrics)
        steps, finite = jax.device_get((steps, _all_finite(state.params)))
        return state, {name: np.stack([metrics[name] for metrics in steps]) for name in steps[0]}, finite

    return chunk


# Kept, so that a second training by the same step, as in stages, compiles nothing; a few, because programs take memory.
@functools.lru_cache(maxsize=8)
def _device_loop(step: Step, sample: Callable[[Any, jax.Array], Any], size: int) -> Callable[..., Any]:
    def one(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        return step(state, sample(data, step_keys(state)[1]))

    # An inner jit, because the shapes of the metrics are asked for before the loop is built: its trace serves both.
    advance = jax.jit(_of_all_seeds(one))

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state: TrainState, data: Any, count: jax.Array) -> tuple[TrainState, Metrics, jax.Array]:
        shapes = jax.eval_shape(advance, state, data)[1]
        logs = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)

        def body(index: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = advance(carry[0], data)
            return state, jax.tree.map(lambda log, value: log.at[index].set(value), carry[1], metrics)

        # A traced count: a shorter last chunk runs the same program.
        state, logs = jax.lax.fori_loop(0, count, body, (state, logs))
        return state, logs, _all_finite(state.params)

    return run


@functools.lru_cache(maxsize=8)
def _host_step(step: Step) -> Callable[..., Any]:
    return jax.jit(_of_all_seeds(step), donate_argnums=0)


def check_finite(logs: Logs, params_finite: np.ndarray, previous: int) -> None:
    """Raises where a chunk that began after step ``previous`` left the finite numbers.

    Raises:
      FloatingPointError: naming the first step whose loss is not finite, or the chunk in which a parameter was not.
    """
    losses = np.asarray(logs["loss"], np.float64)
    sound = np.isfinite(losses.reshape(len(losses), -1)).all(axis=1)
    advice = "lower the step sizes or clip the gradients. The last checkpoint, if any, is from before it."
    if not sound.all():
        at = int(sound.argmin())
        raise FloatingPointError(f"the loss is not finite at step {previous + at + 1}; got {losses[at].tolist()}: {advice}")
    if not params_finite:
        raise FloatingPointError(
            f"a parameter is not finite after step {previous + len(losses)} although the losses were: a gradient was not; {advice}"
        )


def mean_metrics(logs: Logs) -> dict[str, Any]:
    """Averages over the steps of a chunk, as numbers or lists of numbers, the loss first.

    A step in which nothing counted, and a metric that is NaN because its task was absent, are left out; NaN stays where no step is
    left.
    """
    names = sorted(logs.keys() - {PRESENT}, key=lambda name: (name != "loss", name))
    present = np.asarray(logs[PRESENT], bool) if PRESENT in logs else None

    def mean(values: np.ndarray) -> Any:
        known = ~np.isnan(values)
        if present is not None:
            known &= present.reshape(*present.shape, *[1] * (values.ndim - present.ndim))
        count = known.sum(axis=0)
        return np.where(count, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan).tolist()

    return {name: mean(np.asarray(logs[name], np.float64)) for name in names}


def _of_all_seeds(advance: Step) -> Step:
    def mapped(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        return (jax.vmap(advance, in_axes=(0, None)) if state.step.ndim else advance)(state, data)

    return mapped


def _one_ahead(tasks: HostData, first: int, last: int) -> Iterator[Any]:
    def load(index: int) -> Any:
        # A copy, because the host may fill its own buffers anew while the step still reads them.
        copies = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else np.array(leaf), tasks(index))
        return jax.device_put(copies)

    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(load, first)
        for index in range(first, last):
            data = ahead.result()
            if index + 1 < last:
                ahead = pool.submit(load, index + 1)
            yield data


@jax.jit
def _all_finite(params: Params) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
