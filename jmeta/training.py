"""Many training steps: chunks of them inside one compiled loop, then a word with the host."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._reporting import progress_bar, start_run, stop, stop_requests
from jmeta._steps import Step, TrainState, step_keys
from jmeta._types import Metrics, Params, Sampler

HostData = Callable[[int], Any]
Validation = Callable[[Params], Mapping[str, float]]
Callback = Callable[[int, Mapping[str, float], TrainState], None]


class Best(NamedTuple):
    """The parameters with the lowest validation loss so far."""

    params: Params
    step: jax.Array
    loss: jax.Array


class Fitted(NamedTuple):
    """What :func:`fit` returns: the last state, and the best parameters where there was validation."""

    state: TrainState
    best: Best | None


def fit(
    step: Step,
    state: TrainState,
    tasks: Sampler | HostData,
    *,
    num_steps: int,
    steps_per_chunk: int = 100,
    validation: Validation | None = None,
    validate_every: int | None = None,
    directory: str | Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Fitted:
    """Trains until ``num_steps``, and leaves nothing to lose on the way.

    Several seeds train at once where every leaf of ``state`` has a leading axis: ``jax.vmap`` of :func:`init_state`.

    Args:
      step: from :func:`make_step`.
      state: where to start; its buffers are given away.
      tasks: a ``Sampler`` of a step's data, which runs inside the compiled loop, or a function ``step -> data`` on the host, which
        is called one step ahead.
      num_steps: the count of steps to end at.
      steps_per_chunk: compiled steps between two words with the host: a line of metrics (their mean), the progress bar, signals.
      validation: ``params -> metrics``; the step with the lowest ``loss`` is kept.
      validate_every: steps between validations, rounded up to whole chunks; every chunk by default.
      directory: where ``metrics.jsonl`` and ``checkpoints/`` go; None writes nothing.
      checkpoint_every: steps between checkpoints, rounded up to whole chunks; every chunk by default. The last is always written.
      resume: go on from the newest sound checkpoint in ``directory``, bit for bit.
      callbacks: called with ``(step, metrics, state)`` after each chunk; they must not keep the state.
      progress: draw a progress bar; by default in a terminal and in a notebook.

    Raises:
      ValueError: if counts are out of range, ``directory`` holds another run, or there is nothing to resume.
      FloatingPointError: if a loss or a parameter is not finite; the last sound checkpoint stays.
      KeyboardInterrupt: on SIGINT, after a checkpoint; on SIGTERM, ``SystemExit(143)``.
    """
    for name, value in {"num_steps": num_steps, "steps_per_chunk": steps_per_chunk}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    best = None if validation is None else Best(state.params, state.step, jnp.full(state.step.shape, jnp.inf))
    best = jax.tree.map(jnp.array, best)
    (state, best), write, save = start_run(directory, (state, best), resume=resume)
    run = _chunk_of_sampler(step, tasks, steps_per_chunk) if isinstance(tasks, Sampler) else _chunk_of_host(step, tasks)
    done = _count(state)
    with progress_bar(num_steps, progress) as show, stop_requests() as requested:
        while done < num_steps:
            count = min(steps_per_chunk, num_steps - done)
            state, metrics, finite = run(state, count)
            previous, done = done, done + count
            _check_finite(metrics, finite, previous, count)
            values = {name: _mean(value[:count]) for name, value in metrics.items()}
            if validation is not None and _due(previous, done, validate_every, num_steps):
                found = dict(validation(state.params))
                values |= {f"validation/{name}": float(value) for name, value in found.items()}
                best = _better(best, state, found)
            write({"step": done} | values)
            show(done, values)
            for callback in callbacks:
                callback(done, values, state)
            signal = requested()
            if signal or _due(previous, done, checkpoint_every, num_steps):
                save(done, (state, best))
            if signal:
                stop(signal)
    return Fitted(state, best)


def _chunk_of_sampler(step: Step, sampler: Sampler, size: int) -> Callable[[TrainState, int], Any]:
    def one(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        return step(state, sampler.sample(data, step_keys(state)[1]))

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(state: TrainState, data: Any, count: jax.Array) -> tuple[TrainState, Metrics, jax.Array]:
        advance = jax.vmap(one, in_axes=(0, None)) if state.step.ndim else one
        shapes = jax.eval_shape(lambda state: advance(state, data)[1], state)
        logs = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)

        def body(index: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, logs = carry
            state, metrics = advance(state, data)
            return state, jax.tree.map(lambda log, value: log.at[index].set(value), logs, metrics)

        # A traced count: a shorter last chunk runs the same program.
        state, logs = jax.lax.fori_loop(0, count, body, (state, logs))
        return state, logs, _all_finite(state.params)

    return lambda state, count: chunk(state, sampler.data, jnp.asarray(count))


def _chunk_of_host(step: Step, tasks: HostData) -> Callable[[TrainState, int], Any]:
    compiled = jax.jit(step, donate_argnums=0)

    def chunk(state: TrainState, count: int) -> tuple[TrainState, Metrics, jax.Array]:
        first, logs = _count(state), []
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(tasks, first)
            for index in range(first, first + count):
                data = ahead.result()
                if index + 1 < first + count:
                    ahead = pool.submit(tasks, index + 1)
                state, metrics = compiled(state, data)
                logs.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.stack(values), *logs), _all_finite(state.params)

    return chunk


def _all_finite(params: Params) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


def _check_finite(metrics: Metrics, params_finite: jax.Array, previous: int, count: int) -> None:
    losses = metrics["loss"][:count].reshape(count, -1)
    sound = jnp.isfinite(losses).all(axis=1)
    if not sound.all():
        at = int(jnp.argmin(sound))
        raise FloatingPointError(
            f"the loss is not finite at step {previous + at + 1}; got {losses[at].tolist()}: lower the step sizes or clip the "
            "gradients. The last checkpoint, if any, is from before it."
        )
    if not params_finite:
        raise FloatingPointError(
            f"a parameter is not finite after step {previous + count} although the loss was: a gradient was not. Lower the step "
            "sizes or clip the gradients. The last checkpoint, if any, is from before it."
        )


def _due(previous: int, done: int, every: int | None, num_steps: int) -> bool:
    return every is None or done >= num_steps or previous // every != done // every


def _better(best: Best | None, state: TrainState, found: Mapping[str, float]) -> Best | None:
    if "loss" not in found:
        raise ValueError(f"validation must give a metric named loss; got {sorted(found)}.")
    if best is not None and not float(found["loss"]) < float(best.loss.min()):
        return best
    return jax.tree.map(
        jnp.array, Best(state.params, state.step, jnp.full_like(best.loss, found["loss"]) if best else found["loss"])
    )


def _count(state: TrainState) -> int:
    return int(state.step.max())


def _mean(values: jax.Array) -> Any:
    return jax.device_get(values).mean(axis=0).tolist()
