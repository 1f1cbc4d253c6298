"""Predictions that ignore the support: what every method has to beat."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import Adapted, Batch, Episode, Key, Learner, Mask, Metrics, Params


def ignoring_the_task(function: Callable[[jax.Array], jax.Array]) -> Learner:
    """Makes a learner without parameters that predicts a function of x alone."""

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
