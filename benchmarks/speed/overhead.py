"""Measures what ``fit`` adds to the bare compiled loop, on the sinusoid job of MAML."""

import itertools
import statistics
import time
from typing import Any

import jax

import jmeta
from benchmarks.speed.jobs import sinusoid_job
from jmeta._steps import step_keys


def fit_overhead(num_steps: int = 6_000, steps_per_chunk: int = 100) -> dict[str, Any]:
    """Times ``fit`` (no progress bar, no directory) against the jitted ``scan`` of the same step, in turns.

    25 tasks of 10 + 10 examples, a perceptron 40-40-1, one inner step, Adam. The two take turns chunk by chunk, so that both see
    the same noise: a callback of ``fit`` runs the bare loop for as many steps. What ``fit`` does between the end of one
    callback and the beginning of the next is all that it does. The first chunks, which compile, are left out.
    """
    step, state, _ = sinusoid_job()
    tasks = jmeta.batch_tasks(jmeta.sinusoid(shots=10, queries=10), 25)

    @jax.jit
    def loop(state: jmeta.TrainState, data: Any) -> tuple[jmeta.TrainState, dict[str, jax.Array]]:
        def one(state: jmeta.TrainState, _: None) -> tuple[jmeta.TrainState, dict[str, jax.Array]]:
            return step(state, tasks.sample(data, step_keys(state)[1]))

        return jax.lax.scan(one, state, None, length=steps_per_chunk)

    times: list[tuple[float, float]] = []
    bare = state

    def take_turns(*_: Any) -> None:
        nonlocal bare
        begin = time.perf_counter()
        bare, _ = jax.block_until_ready(loop(bare, tasks.data))
        times.append((begin, time.perf_counter()))

    jmeta.fit(step, state, tasks, num_steps=num_steps, steps_per_chunk=steps_per_chunk, callbacks=[take_turns], progress=False)
    pairs = [(now[0] - before[1], now[1] - now[0]) for before, now in itertools.pairwise(times[1:])]
    ratios = [fitted / looped for fitted, looped in pairs]
    lower, ratio, upper = statistics.quantiles(ratios, n=4)
    fit_us, loop_us = (statistics.median(column) / steps_per_chunk * 1e6 for column in zip(*pairs, strict=True))
    return {
        "ratio": ratio,
        "ratio_quartiles": [lower, upper],
        "fit_microseconds_per_step": fit_us,
        "loop_microseconds_per_step": loop_us,
    }
