"""Many training steps: chunks of them inside one compiled loop, then a word with the host."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGINT
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._chunks import Chunk, HostData, check_finite, device_chunks, host_chunks, mean_metrics
from jmeta._options import check_counts
from jmeta._reporting import progress_bar, start_run, stop, stop_requests
from jmeta._steps import Step, TrainState
from jmeta._types import Params, Sampler

Validation = Callable[[Params], Mapping[str, Any]]
Callback = Callable[[int, Mapping[str, Any], TrainState], None]


class Best(NamedTuple):
    """The parameters with the lowest validation loss so far; of each seed where there are several."""

    params: Params
    step: jax.Array
    loss: jax.Array


class Fitted(NamedTuple):
    """What :func:`fit` returns, and writes: the last state, and the best parameters where a validation found any."""

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
    on_interrupt: Literal["raise", "return"] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Fitted:
    """Trains until ``num_steps``, and leaves nothing to lose on the way.

    Several seeds train at once where every leaf of ``state`` has a leading axis: ``jax.vmap`` of :func:`init_state`.

    Args:
      step: from :func:`make_step`.
      state: where to start; it stays the caller's.
      tasks: a ``Sampler`` of a step's data, which runs inside the compiled loop, or a function ``step -> data`` on the host, which
        is called one step ahead and whose data all seeds share.
      num_steps: the count of steps to end at; a state that is there already is returned as it is.
      steps_per_chunk: compiled steps between two words with the host: a line of metrics (their mean), the progress bar, signals.
      validation: ``params -> metrics``, called for each seed; the first step with the lowest ``loss`` is kept. Where no loss of a
        seed was finite, there is a warning, and the best of that seed is its last state; ``best`` is None where that holds for all.
      validate_every: steps between validations, rounded up to whole chunks; every chunk by default.
      directory: where ``metrics.jsonl`` and ``checkpoints/`` go; None writes nothing.
      checkpoint_every: steps between checkpoints, rounded up to whole chunks; every chunk by default. The first and the last state
        are always written.
      resume: go on from the newest sound checkpoint in ``directory``, bit for bit, if there is one: a job that may be interrupted
        is always started so.
      on_interrupt: what SIGINT does once the running chunk has ended and its checkpoint is written: ``"raise"`` ends the program,
        ``"return"`` gives back what there is, with a warning. By default the latter in a notebook, where the state would be lost.
      callbacks: called with ``(step, metrics, state)`` after each chunk; the next chunk overwrites the state.
      progress: draw a progress bar; by default in a terminal and in a notebook.

    Raises:
      ValueError: if counts are out of range, ``directory`` holds another run, ``validation`` gives no loss, or tasks are neither.
      FloatingPointError: if a loss or a parameter is not finite; the last sound checkpoint stays.
      KeyboardInterrupt: on SIGINT, after a checkpoint; on SIGTERM, ``SystemExit(143)``.
    """
    check_counts(
        num_steps=num_steps, steps_per_chunk=steps_per_chunk, validate_every=validate_every, checkpoint_every=checkpoint_every
    )
    if not (isinstance(tasks, Sampler) or callable(tasks)):
        raise ValueError(f"tasks must be a Sampler or a function step -> data; got {type(tasks).__name__}.")
    if jax.process_count() > 1 and directory is not None:
        raise ValueError(f"directory must be None where {jax.process_count()} processes train together: checkpoints are of one.")
    returns = on_interrupt == "return" or (on_interrupt is None and _in_notebook())
    # Copies, because a chunk overwrites the state that it is given.
    start = Fitted(_begin(state), None if validation is None else _no_best(state))
    (state, best), write, save = start_run(directory, _count(state), start, resume=resume)
    chunk = _chunks(step, tasks, steps_per_chunk, _count(state), num_steps)
    with progress_bar(num_steps, progress) as show, stop_requests() as requested:
        for previous, done in _ends_of_chunks(_count(state), num_steps, steps_per_chunk):
            state, logs, finite = chunk(state, done - previous)
            check_finite(logs, finite, previous)
            metrics = mean_metrics(logs)
            if validation is not None and best is not None and _due(previous, done, validate_every, num_steps):
                best, found = _validate(validation, best, state)
                metrics |= {f"validation/{name}": values.tolist() for name, values in found.items()}
            write({"step": done} | metrics)
            show(done, metrics)
            for callback in callbacks:
                callback(done, metrics, state)
            signal = requested()
            if signal or _due(previous, done, checkpoint_every, num_steps):
                save(done, Fitted(state, best))
            if signal == SIGINT and returns:
                warnings.warn(f"interrupted at step {done} of {num_steps}; this is what training had reached.", stacklevel=2)
                break
            if signal:
                stop(signal)
    return Fitted(state, None if best is None else _judged(best, state))


def _chunks(step: Step, tasks: Sampler | HostData, size: int, first: int, last: int) -> Chunk:
    return device_chunks(step, tasks, size) if isinstance(tasks, Sampler) else host_chunks(step, tasks, first, last)


def _ends_of_chunks(done: int, num_steps: int, size: int) -> Iterator[tuple[int, int]]:
    for previous in range(done, num_steps, size):
        yield previous, min(previous + size, num_steps)


def _due(previous: int, done: int, every: int | None, num_steps: int) -> bool:
    return every is None or done >= num_steps or previous // every != done // every


@jax.jit
def _begin(state: TrainState) -> TrainState:
    # With the dtype spelt out no leaf is weakly typed, which would compile a second program after the first chunk.
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype=leaf.dtype), state)


@jax.jit
def _no_best(state: TrainState) -> Best:
    params, step = jax.tree.map(jnp.array, (state.params, state.step))
    return Best(params, step, jnp.full(state.step.shape, jnp.inf, float))


def _validate(validation: Validation, best: Best, state: TrainState) -> tuple[Best, dict[str, np.ndarray]]:
    """Gives the better of ``best`` and ``state``, seed by seed, and the metrics, ``[seeds, ...]`` where there are several."""
    if state.step.ndim:
        of_seeds = [validation(jax.tree.map(lambda leaf, at=at: leaf[at], state.params)) for at in range(len(state.step))]
        found = {name: np.stack([np.asarray(metrics[name], np.float64) for metrics in of_seeds]) for name in of_seeds[0]}
    else:
        found = {name: np.asarray(value, np.float64) for name, value in validation(state.params).items()}
    if "loss" not in found or found["loss"].shape != best.loss.shape:
        shapes = {name: values.shape[best.loss.ndim :] for name, values in found.items()}
        raise ValueError(f"validation must give a scalar metric named loss; got metrics of shapes {shapes}.")
    return _better(best, Best(state.params, state.step, jax.device_put(found["loss"].astype(best.loss.dtype)))), found


@jax.jit
def _better(best: Best, now: Best) -> Best:
    """Keeps the lower loss of each seed; a loss that is NaN is never lower."""
    lower = now.loss < best.loss

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(lower.reshape(lower.shape + (1,) * (new.ndim - lower.ndim)), new, old)

    return jax.tree.map(keep, now, best)


def _judged(best: Best, state: TrainState) -> Best | None:
    """Gives the last state of seeds that had no finite validation loss, with a warning; None where that is all of them."""
    found = np.isfinite(best.loss)
    if found.all():
        return best
    seeds = f" of seeds {np.flatnonzero(~found).tolist()}" if found.ndim else ""
    warnings.warn(f"no validation loss{seeds} was finite, so no step could be chosen as the best.", stacklevel=3)
    last = Best(state.params, state.step, jnp.where(found, best.loss, -jnp.inf))
    return _better(best, last)._replace(loss=best.loss) if found.any() else None


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _count(state: TrainState) -> int:
    return int(state.step.max())
