"""A learner under trial: what it makes of a task, whole and by parts, and how two results are compared."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta import _variations as variations
from jmeta._scoring import score
from jmeta._types import Adapted, Episode, Learner, LossFn, Params, Sampler

TASKS = 3
PADDING = 1
STEP = 3


class Trained(NamedTuple):
    """What a learner makes of a task in training: its loss, the metric of that name, and the gradient of the loss."""

    value: Any
    metric: Any
    gradient: Any


class Tested(NamedTuple):
    """The same outside training, where nothing is differentiated."""

    value: Any
    metric: Any


class Parts(NamedTuple):
    """What it adapts to, predicts, and by ``loss_fn`` scores, with the gradient of the score."""

    adapted: Any
    outputs: Any
    score: Any
    gradient: Any


class Trial(NamedTuple):
    """A learner and the tasks that it is tried on.

    Attributes:
      learner: the learner.
      params: its parameters.
      episodes: tasks as they come, but each with the support of two.
      explicit: the same with weights of 1 and, where masks are taken, masked rows before and after the real ones.
      train: ``(key, episode) -> Trained``.
      test: ``(key, episode) -> Tested``.
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
    train: Callable[[jax.Array, Episode], Trained]
    test: Callable[[jax.Array, Episode], Tested]
    parts: Callable[[jax.Array, Episode], Parts]
    draws: str
    own_objective: bool
    takes_masks: bool
    tolerance: float


def begin(learner: Learner, sampler: Sampler, loss_fn: LossFn, **options: Any) -> Trial:
    """Draws the tasks, makes the parameters, and builds what the checks call."""
    sample = jax.jit(sampler.sample)
    drawn = [jax.device_get(sample(sampler.data, jax.random.key(seed))) for seed in range(TASKS)]
    params = jax.device_get(jax.jit(learner.init)(jax.random.key(0), drawn[0]))
    episodes = [variations.with_support_of_both(one, other) for one, other in zip(drawn, drawn[1:] + drawn[:1], strict=True)]
    padding = PADDING if options["takes_masks"] else 0
    explicit = [variations.explicit(episode, padding=padding) for episode in episodes]

    # Training is what a learner does unless it is told otherwise.
    def train(params: Params, key: jax.Array, episode: Episode) -> Trained:
        (value, metrics), gradient = jax.value_and_grad(learner.loss, has_aux=True)(params, key, episode, step=STEP)
        return Trained(value, metrics["loss"], gradient)

    def test(params: Params, key: jax.Array, episode: Episode) -> Tested:
        value, metrics = learner.loss(params, key, episode, training=False)
        return Tested(value, metrics["loss"])

    def parts(params: Params, key: jax.Array, episode: Episode) -> Parts:
        def judged(params: Params) -> tuple[jax.Array, tuple[Adapted, Any]]:
            adapted, outputs = predictions(learner, params, key, episode)
            return score(loss_fn, outputs, episode.query, episode.classes), (adapted, outputs)

        (value, (adapted, outputs)), gradient = jax.value_and_grad(judged, has_aux=True)(params)
        return Parts(adapted, outputs, value, gradient)

    called = {"train": _on_the_host(train, params), "test": _on_the_host(test, params), "parts": _on_the_host(parts, params)}
    return Trial(learner, params, episodes, explicit, **called, **options)


def _on_the_host(function: Callable[..., Any], params: Params) -> Callable[[jax.Array, Episode], Any]:
    run = jax.jit(function)
    return lambda key, episode: jax.device_get(run(params, key, episode))


def predictions(learner: Learner, params: Params, key: jax.Array, episode: Episode) -> tuple[Adapted, Any]:
    adapted = learner.adapt(params, key, episode.support, classes=episode.classes)
    return adapted, learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)


def check_alike(trial: Trial, got: Episode, expected: Episode, promise: str, *, rows_differ: bool = False) -> None:
    """Compares what a learner makes of two explicit tasks, in training, outside, and by parts.

    Args:
      trial: the learner.
      got: a task.
      expected: a task that is to be the same.
      promise: what is broken otherwise, after the name of what is compared.
      rows_differ: whether the rows stand elsewhere, so that what is drawn of them differs.
    """
    key = jax.random.key(9)
    if trial.draws == "nothing" or not rows_differ:
        check_equal(trial, trial.train(key, got), trial.train(key, expected), f"loss in training {promise}")
    if trial.draws != "always" or not rows_differ:
        check_equal(trial, trial.test(key, got), trial.test(key, expected), f"loss outside training {promise}")
        one, other = ((parts.score, parts.gradient) for parts in (trial.parts(key, task) for task in (got, expected)))
        check_equal(trial, one, other, f"adapt and predict {promise}")


def check_equal(trial: Trial, got: Any, expected: Any, promise: str) -> None:
    check_close(got, expected, trial.tolerance, promise)


def check_close(got: Any, expected: Any, tolerance: float, promise: str) -> None:
    """Compares the numbers of two trees, up to a difference relative to one plus their norm."""
    got, expected = flat(got), flat(expected)
    difference, limit = np.linalg.norm(got - expected), tolerance * (1 + np.linalg.norm(expected))
    if not difference <= limit:
        raise ValueError(f"{promise}; got a difference of {difference:.3g}, expected at most {limit:.3g}.")


def same(got: Any, expected: Any) -> bool:
    """Says whether two trees hold the same bits."""
    return np.array_equal(flat(got), flat(expected))


def flat(tree: Any) -> np.ndarray:
    """Puts all numbers of a tree into one vector on the host."""
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(jax.device_get(tree))])
