"""The training steps that are measured, and how."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

import jmeta
from benchmarks.devices import over_devices
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

Job = tuple[Any, jmeta.TrainState, Any]
IMAGE_TASKS = 8


def sinusoid_job(*, tasks: int = 25, num_steps: int = 1, micro_batch: int | None = None, hidden: int = 40, points: int = 10) -> Job:
    """MAML on sinusoids: a step, its state and its data."""
    model = jmeta.from_linen(MultilayerPerceptron((hidden, hidden, 1)))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.01), num_steps=num_steps)
    sampler = jmeta.batch_tasks(jmeta.sinusoid(shots=points, queries=points), tasks)
    return _job(learner, sampler.sample(sampler.data, jax.random.key(0)), micro_batch)


def convolutional_job(*, num_steps: int = 1, devices: int = 1, adjoint: jmeta.Adjoint | None = None) -> Job:
    """MAML on 28 x 28 images, 5-way 1-shot, 15 queries per class: four strided layers of 64 channels with batch statistics.

    On a CPU each device takes one task after another.
    """
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="batch"))
    model = jmeta.compose(encoder, jmeta.from_linen(MultilayerPerceptron((5,))))
    learner = jmeta.maml(
        model, optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.4), num_steps=num_steps, adjoint=adjoint
    )

    def batch(seed: int, shots: int) -> jmeta.Batch:
        images = np.random.default_rng(seed).random((IMAGE_TASKS, 5 * shots, 28, 28, 1), np.float32)
        return jax.device_put(jmeta.Batch(images, np.tile(np.arange(5, dtype=np.int32), (IMAGE_TASKS, shots))))

    episodes = jmeta.Episode(batch(0, 1), batch(1, 15))
    step, state, _ = _job(learner, episodes, devices if jax.default_backend() == "cpu" else None)
    if devices == 1:
        return step, state, episodes
    return step, over_devices(state, devices), over_devices(episodes, devices, "task")


def compiled(job: Job) -> Callable[[], Any]:
    """Compiles a job's step; calling the result runs it."""
    step, state, data = job
    program = jax.jit(step).lower(state, data).compile()
    return lambda: jax.block_until_ready(program(state, data))


def seconds_in_turn(runs: Sequence[Callable[[], Any]], rounds: int, minimum: float = 0.1) -> np.ndarray:
    """Times each run once per round, repeated until a timing lasts ``minimum`` seconds: ``[rounds, runs]``."""
    times = [seconds(run, 2) for run in runs]
    repetitions = [max(1, round(minimum / duration)) for duration in times]
    return np.array([[seconds(run, count) for run, count in zip(runs, repetitions, strict=True)] for _ in range(rounds)])


def seconds(run: Callable[[], Any], repetitions: int) -> float:
    """The mean time of a run that is repeated."""
    run()
    start = time.perf_counter()
    for _ in range(repetitions):
        run()
    return (time.perf_counter() - start) / repetitions


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The exponent with which ``values`` grow, by least squares on logarithms.

    >>> round(slope([1, 2, 4], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    return statistics.linear_regression(np.log(sizes), np.log(values)).slope


def _job(learner: jmeta.Learner, episodes: jmeta.Episode, micro_batch: int | None) -> Job:
    optimizer = optax.adam(1e-3)

    @jax.jit
    def initial(episodes: jmeta.Episode) -> jmeta.TrainState:
        params = learner.init(jax.random.key(2), jax.tree.map(lambda leaf: leaf[0], episodes))
        return jmeta.init_state(params, optimizer, jax.random.key(3))

    step = jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer, micro_batch=micro_batch)
    return step, initial(episodes), episodes
