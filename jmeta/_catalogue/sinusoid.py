"""The row of sinusoid regression."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._catalogue.networks import PerceptronOptions, perceptron
from jmeta._catalogue.options import Config
from jmeta._catalogue.references import ignoring_the_task
from jmeta._catalogue.rows import REGRESSION, Problem, Reference, Setting
from jmeta._types import Batch, Episode, Sampler
from jmeta.metrics import squared_error
from jmeta.tasks._sinusoid import sinusoid

AMPLITUDES = (0.1, 5.0)
INPUTS = (-5.0, 5.0)


@dataclasses.dataclass(frozen=True)
class SinusoidOptions:
    """The size of a training task: amplitude 0.1 to 5, phase 0 to pi, x from -5 to 5.

    Attributes:
      shots: support examples per training task.
      queries: query examples per training task.
    """

    shots: int = 10
    queries: int = 10


@dataclasses.dataclass(frozen=True)
class SinusoidTestOptions:
    """The size of a validation or test task.

    Attributes:
      evaluation_shots: support examples per task.
      evaluation_queries: query examples per task.
    """

    evaluation_shots: int = 5
    evaluation_queries: int = 100


def _setting(config: Config) -> Setting:
    return Setting(REGRESSION, perceptron(config.network, 1), squared_error, squared_error, 1, 1)


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    train = sinusoid(shots=config.tasks.shots, queries=config.tasks.queries)
    test = sinusoid(shots=config.test.evaluation_shots, queries=config.test.evaluation_queries)

    def sample(data: Any, key: jax.Array) -> Episode:
        # A stream of its own, so that no seed makes validation tasks of test tasks.
        return test.sample(data, jax.random.fold_in(key, 1))

    return train, Sampler(test.data, sample), test


def _example(config: Config) -> Episode:
    del config
    batch = Batch(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    return Episode(batch, batch)


def references(config: Config | None = None) -> dict[str, Reference]:
    r"""Gives two predictions that ignore the support, each with its expected squared error.

    Zero costs :math:`E[y^2] = E[A^2] / 2`. The best function of x alone is :math:`E[y \mid x] = -2 E[A] \cos(x) / \pi`, which
    takes :math:`4 E[A]^2 E[\cos^2 x] / \pi^2` away.
    """
    del config
    low, high = AMPLITUDES
    mean, square = (low + high) / 2, (low**2 + low * high + high**2) / 3
    # Over [-c, c] the mean of cos^2 is 1/2 + sin(2c) / (4c).
    cosines = 1 / 2 + math.sin(2 * INPUTS[1]) / (4 * INPUTS[1])
    return {
        "predicting zero": Reference(ignoring_the_task(jnp.zeros_like), square / 2),
        "best function of x alone": Reference(
            ignoring_the_task(lambda x: -2 * mean / math.pi * jnp.cos(x)), square / 2 - (2 * mean / math.pi) ** 2 * cosines
        ),
    }


PROBLEM = Problem(
    "y = A sin(x - phase), which needs no data (Finn 2017)",
    frozenset({REGRESSION}),
    (SinusoidOptions, SinusoidTestOptions, PerceptronOptions),
    _setting,
    _samplers,
    _example,
    references,
    {"steps": 20_000, "learning_rate": 4e-3, "schedule": "cosine", "validation_episodes": 1_000, "evaluation_batch": 100},
)
