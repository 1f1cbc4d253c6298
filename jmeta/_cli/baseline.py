"""What meta-learning is compared with: a network pretrained on all tasks, and predictions that ignore the task."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._cli.catalogue import LEARNERS, TASKS, default_config
from jmeta._cli.options import Config
from jmeta._scoring import score
from jmeta._types import Adapted, Batch, Episode, Key, Learner, Mask, Metrics, Params, Sampler

BASELINE = "baseline"
AMPLITUDES = (0.1, 5.0)
INPUTS = (-5.0, 5.0)


def baseline_config(config: Config) -> Config:
    """Gives a run the same network, tasks and training, but on all tasks at once."""
    shared = {name: getattr(config, name) for name in ("tasks", "test", "network", "training", "evaluation")}
    return dataclasses.replace(default_config("pretraining", config.tasks_name), **shared)


def fine_tuning_rate(config: Config, validation: Sampler, params: Params) -> float:
    """Chooses the step size with the lowest loss on validation tasks, averaged over 1, 2, ..., k steps of fine-tuning."""
    entry, rates = TASKS[config.tasks_name], config.learner.fine_tuning_rates
    network, num_steps = entry.network(config.network, 1), max(1, config.evaluation.evaluation_steps)

    def loss(params: Params, data: Any, key: jax.Array, rate: jax.Array) -> jax.Array:
        options = dataclasses.replace(config.learner, fine_tuning_rate=rate)
        learner = LEARNERS[config.learner_name].build(options, network, entry.loss_fn, 1)
        sample_key, adapt_key = jax.random.split(key)
        episode: Episode = validation.sample(data, sample_key)
        path = learner.path or (lambda params, *_: params)
        adapted = path(params, adapt_key, episode.support, num_steps)

        def after_step(adapted: Adapted) -> jax.Array:
            return score(entry.loss_fn, learner.predict(params, adapted, episode.query.x), episode.query)

        return jax.lax.map(after_step, adapted)[1:].mean()

    @jax.jit
    def losses(params: Params, data: Any, keys: jax.Array) -> jax.Array:
        def mean(rate: jax.Array) -> jax.Array:
            return jax.lax.map(lambda key: loss(params, data, key, rate), keys).mean()

        return jax.lax.map(mean, jnp.array(rates))

    keys = jax.random.split(jax.random.key(config.training.seed), config.training.validation_episodes)
    found = np.asarray(losses(params, validation.data, keys))
    return rates[int(np.where(np.isfinite(found), found, np.inf).argmin())]


def sinusoid_references() -> dict[str, tuple[Learner, float]]:
    r"""Gives two predictions that ignore the support, each with its expected squared error.

    Zero costs :math:`E[y^2] = E[A^2] / 2`. The best function of x alone is :math:`E[y \mid x] = -2 E[A] \cos(x) / \pi`, which
    takes :math:`4 E[A]^2 E[\cos^2 x] / \pi^2` away.
    """
    low, high = AMPLITUDES
    mean, square = (low + high) / 2, (low**2 + low * high + high**2) / 3
    # Over [-c, c] the mean of cos^2 is 1/2 + sin(2c) / (4c).
    cosines = 1 / 2 + math.sin(2 * INPUTS[1]) / (4 * INPUTS[1])
    return {
        "predicting zero": (_ignoring_the_task(jnp.zeros_like), square / 2),
        "best function of x alone": (
            _ignoring_the_task(lambda x: -2 * mean / math.pi * jnp.cos(x)),
            square / 2 - (2 * mean / math.pi) ** 2 * cosines,
        ),
    }


def _ignoring_the_task(function: Callable[[jax.Array], jax.Array]) -> Learner:
    def init(key: jax.Array, episode: Episode) -> Params:
        del key, episode
        return ()

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        del params, key, support, classes, training
        return jnp.zeros(())

    def predict(params: Params, adapted: Adapted, x: jax.Array, *, key: Key = None, mask: Mask = None) -> jax.Array:
        del params, adapted, key, mask
        return function(x)

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        del params, key, step, training
        value = jnp.square(function(episode.query.x) - episode.query.y).mean()
        return value, {"loss": value}

    return Learner(init, adapt, predict, loss, None, "none")
