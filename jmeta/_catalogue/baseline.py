"""The pretrained network beside a run, and how it is fine-tuned."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._catalogue.options import Config, values_of, with_values
from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.recipes import setting_of
from jmeta._catalogue.tables import LEARNERS, default_config
from jmeta._scoring import score
from jmeta._types import Adapted, Episode, Params, Sampler

BASELINE = "baseline"


def baseline_config(config: Config) -> Config:
    """Gives a run the same network, tasks and training, but on all tasks at once.

    Where the method has training options of its own (the outer step of Reptile), the problem's are taken.
    """
    shared = {name: getattr(config, name) for name in ("tasks", "test", "network", "training", "evaluation", "data")}
    method, plain = LEARNERS[config.method_name], default_config(PRETRAINING, config.problem_name)
    own = {**method.preset, **method.presets.get(config.problem_name, {})}
    training = {name: value for name, value in values_of(plain.training) if name in own}
    return with_values(dataclasses.replace(plain, **shared), **training)


def fine_tuning_rate(config: Config, validation: Sampler, params: Params) -> float:
    """Chooses the step size with the lowest loss on validation tasks, averaged over 1, 2, ..., k steps of fine-tuning."""
    setting, rates = setting_of(config), config.method.fine_tuning_rates
    num_steps = max(1, config.evaluation.evaluation_steps)

    def loss(params: Params, data: Any, key: jax.Array, rate: jax.Array) -> jax.Array:
        learner = LEARNERS[PRETRAINING].build(dataclasses.replace(config.method, fine_tuning_rate=rate), setting)
        sample_key, adapt_key = jax.random.split(key)
        episode: Episode = validation.sample(data, sample_key)
        path = learner.path or (lambda params, *_, classes: params)
        adapted = path(params, adapt_key, episode.support, num_steps, classes=episode.classes)

        def after_step(adapted: Adapted) -> jax.Array:
            outputs = learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)
            return score(setting.loss_fn, outputs, episode.query, episode.classes)

        return jax.lax.map(after_step, adapted)[1:].mean()

    @jax.jit
    def losses(params: Params, data: Any, keys: jax.Array) -> jax.Array:
        def mean(rate: jax.Array) -> jax.Array:
            return jax.lax.map(lambda key: loss(params, data, key, rate), keys).mean()

        return jax.lax.map(mean, jnp.array(rates))

    keys = jax.random.split(jax.random.key(config.training.seed), config.training.validation_episodes)
    found = np.asarray(losses(params, validation.data, keys))
    return rates[int(np.where(np.isfinite(found), found, np.inf).argmin())]
