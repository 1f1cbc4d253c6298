"""A learner under trial: what it makes of a task, whole and by parts, and how two results are compared."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta import _variations as variations
from jmeta._scoring import score
from jmeta._types import Adapted, Episode, Learner, LossFn, Metrics, Params, Sampler

TASKS = 3
PADDING = 1


class Found(NamedTuple):
    """What a learner makes of a task: its loss, the metric of that name, and the gradient of the loss."""

    value: Any
    metric: Any
    gradient: Any


class Parts(NamedTuple):
    """The same from adapting, predicting and scoring one by one, and what adapting and predicting gave."""

    value: Any
    gradient: Any
    adapted: Any
    outputs: Any


class Trial(NamedTuple):
    """A learner and the tasks that it is tried on.

    Attributes:
      learner: the learner.
      params: its parameters.
      episodes: tasks as they come, but each with the support of two.
      explicit: of the same tasks, with weights of 1 and, where masks are taken, masked rows before and after the real ones.
      whole: ``(key, episode, training) -> Found``.
      parts: ``(key, episode) -> Parts``, outside training.
      draws: when the learner draws random numbers.
      own_objective: whether it minimises something else than the loss of the query.
      takes_masks: whether it honours masks.
      tolerance: the largest difference between equal quantities, relative to one plus their norm.
    """

    learner: Learner
    params: Params
    episodes: list[Episode]
    explicit: list[Episode]
    whole: Callable[[jax.Array, Episode, bool], Found]
    parts: Callable[[jax.Array, Episode], Parts]
    draws: str
    own_objective: bool
    takes_masks: bool
    tolerance: float


def begin(learner: Learner, sampler: Sampler, loss_fn: LossFn, **options: Any) -> Trial:
    """Draws the tasks, makes the parameters, and builds what the checks call."""
    sample = jax.jit(sampler.sample)
    drawn = [jax.device_get(sample(sampler.data, key)) for key in jax.random.split(jax.random.key(1), 2 * TASKS)]
    params = jax.device_get(jax.jit(learner.init)(jax.random.key(0), drawn[0]))
    episodes = [variations.with_support_of_both(one, other) for one, other in zip(drawn, drawn[1:] + drawn[:1], strict=True)]
    padding = PADDING if options["takes_masks"] else 0
    explicit = [variations.explicit(episode, padding=padding) for episode in episodes[:2]]
    return Trial(learner, params, episodes, explicit, _whole(learner, params), _parts(learner, params, loss_fn), **options)


def _whole(learner: Learner, params: Params) -> Callable[[jax.Array, Episode, bool], Found]:
    # Training is what a learner does unless it is told otherwise.
    modes: dict[bool, dict[str, Any]] = {True: {}, False: {"training": False}}

    @functools.partial(jax.jit, static_argnums=4)
    def run(params: Params, key: jax.Array, episode: Episode, step: Any, training: bool) -> tuple[tuple[Any, Metrics], Params]:
        return jax.value_and_grad(learner.loss, has_aux=True)(params, key, episode, step=step, **modes[training])

    def whole(key: jax.Array, episode: Episode, training: bool) -> Found:
        (value, metrics), gradient = jax.device_get(run(params, key, episode, jnp.int32(3), training))
        return Found(value, metrics["loss"], gradient)

    return whole


def _parts(learner: Learner, params: Params, loss_fn: LossFn) -> Callable[[jax.Array, Episode], Parts]:
    def judged(params: Params, key: jax.Array, episode: Episode) -> tuple[jax.Array, tuple[Adapted, Any]]:
        adapted, outputs = predictions(learner, params, key, episode)
        return score(loss_fn, outputs, episode.query, episode.classes), (adapted, outputs)

    run = jax.jit(jax.value_and_grad(judged, has_aux=True))

    def parts(key: jax.Array, episode: Episode) -> Parts:
        (value, (adapted, outputs)), gradient = jax.device_get(run(params, key, episode))
        return Parts(value, gradient, adapted, outputs)

    return parts


def predictions(learner: Learner, params: Params, key: jax.Array, episode: Episode) -> tuple[Adapted, Any]:
    adapted = learner.adapt(params, key, episode.support, classes=episode.classes)
    return adapted, learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)


def modes_that_agree(trial: Trial) -> tuple[bool, ...]:
    """The values of ``training`` in which two tasks must agree though their rows draw differently."""
    return {"nothing": (True, False), "training": (False,), "always": ()}[trial.draws]


def check_alike(trial: Trial, got: Episode, expected: Episode, promise: str, *, rows_differ: bool = False) -> None:
    """Compares what a learner makes of two explicit tasks, whole in each mode and by parts.

    Args:
      trial: the learner.
      got: a task.
      expected: a task that is to be the same.
      promise: what is broken otherwise, after the name of what is compared.
      rows_differ: whether the rows stand elsewhere, so that what is drawn of them differs.
    """
    key = jax.random.key(9)
    for training in modes_that_agree(trial) if rows_differ else (True, False):
        one, other = (trial.whole(key, episode, training) for episode in (got, expected))
        check_equal(trial, one, other, f"loss {promise} (training={training})")
    if trial.draws != "always" or not rows_differ:
        one, other = ((parts.value, parts.gradient) for parts in (trial.parts(key, episode) for episode in (got, expected)))
        check_equal(trial, one, other, f"adapt and predict {promise}")


def check_equal(trial: Trial, got: Any, expected: Any, promise: str) -> None:
    got, expected = flat(got), flat(expected)
    difference, limit = np.linalg.norm(got - expected), trial.tolerance * (1 + np.linalg.norm(expected))
    if not difference <= limit:
        raise ValueError(f"{promise}; got a difference of {difference:.3g}, expected at most {limit:.3g}.")


def same(got: Any, expected: Any) -> bool:
    """Says whether two trees hold the same bits."""
    return np.array_equal(flat(got), flat(expected))


def flat(tree: Any) -> np.ndarray:
    """Puts all numbers of a tree into one vector on the host."""
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(jax.device_get(tree))])
