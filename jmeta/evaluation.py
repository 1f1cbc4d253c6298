"""From episodes to estimates with confidence intervals, after 0, 1, ..., k adaptation steps."""

import functools
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._objectives import score
from jmeta._types import Episode, Learner, LossFn, Params, Sampler
from jmeta._validation import check_task


class Estimate(NamedTuple):
    """A mean over episodes and the half-width of its 95 % confidence interval."""

    mean: float
    half_width: float


class Evaluation(NamedTuple):
    """A learner's score on a fixed list of episodes.

    Attributes:
      metric: its name.
      after_steps: the estimate after 0, 1, ..., k adaptation steps; one entry where adapting is not iterative.
      values: ``[episodes, k + 1]``, each episode's mean over its query.
      normalization: what the model's activations were normalised with.
      transductive: whether a query's prediction was seen to depend on the other queries.
      milliseconds_per_episode: wall time of adapting and predicting, compilation left out.
      episodes: SHA-256 of the first episode, which tells two lists apart.
    """

    metric: str
    after_steps: tuple[Estimate, ...]
    values: np.ndarray
    normalization: str
    transductive: bool
    milliseconds_per_episode: float
    episodes: str


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    r"""Estimates a mean with its 95 % interval, :math:`t_{0.975, n-1} \, s / \sqrt{n}`.

    Args:
      values: ``[n]`` independent values.

    Raises:
      ValueError: if there are fewer than two.
    """
    from scipy.special import stdtrit

    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"values must hold at least two values, [n]; got shape {array.shape}.")
    quantile = float(stdtrit(len(array) - 1, 0.975))
    return Estimate(float(array.mean()), quantile * float(array.std(ddof=1)) / math.sqrt(len(array)))


def evaluate(
    learner: Learner,
    params: Params,
    sampler: Sampler,
    *,
    metric: LossFn,
    num_steps: int | None = None,
    episodes: int = 1000,
    seed: int = 0,
    batch_size: int = 1,
) -> Evaluation:
    """Scores a learner on episodes that depend on ``sampler`` and ``seed`` alone, so that every learner sees the same.

    Args:
      learner: the learner.
      params: its parameters.
      sampler: of one episode.
      metric: ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``, such as ``jmeta.accuracy``; its ``__name__`` is reported.
      num_steps: report after 0, 1, ..., ``num_steps`` adaptation steps, which may exceed the training number; None reports the
        learner as it was trained.
      episodes: how many.
      seed: which.
      batch_size: episodes that run at once.

    Raises:
      ValueError: if ``num_steps`` is given for a learner without a path, or counts are out of range.
    """
    if num_steps is not None and learner.path is None:
        raise ValueError(f"num_steps must be None for a learner whose adaptation is not iterative; got {num_steps}.")
    if num_steps is not None and num_steps < 0:
        raise ValueError(f"num_steps must be at least 0; got {num_steps}.")
    if episodes < 2 or batch_size < 1:
        raise ValueError(f"episodes must be at least 2 and batch_size at least 1; got {episodes} and {batch_size}.")
    keys = jax.random.split(jax.random.key(seed), episodes)
    first = jax.jit(sampler.sample)(sampler.data, jax.random.split(keys[0])[0])
    check_task(learner, params, first)
    plan = {"learner": learner, "sample": sampler.sample, "metric": metric, "num_steps": num_steps, "batch_size": batch_size}
    compiled = _all_values.lower(params, sampler.data, keys, **plan).compile()
    start = time.perf_counter()
    values = np.asarray(compiled(params, sampler.data, keys), np.float64)
    milliseconds = 1e3 * (time.perf_counter() - start) / episodes
    return Evaluation(
        metric=getattr(metric, "__name__", "metric"),
        after_steps=tuple(map(estimate, values.T)),
        values=values,
        normalization=learner.normalization,
        transductive=is_transductive(learner, params, first),
        milliseconds_per_episode=milliseconds,
        episodes=_digest(first),
    )


def paired_difference(first: Evaluation, second: Evaluation) -> tuple[Estimate, ...]:
    """Estimates ``first - second`` from the differences on each episode, after each number of steps that both have.

    Raises:
      ValueError: if the two were not evaluated with the same metric on the same episodes.
    """
    same = (first.metric, first.episodes, len(first.values)) == (second.metric, second.episodes, len(second.values))
    if not same:
        raise ValueError(
            "paired_difference needs two evaluations with one metric on the same episodes; got "
            f"{first.metric} on {len(first.values)} and {second.metric} on {len(second.values)} episodes, "
            f"beginning {first.episodes[:8]} and {second.episodes[:8]}."
        )
    steps = min(first.values.shape[1], second.values.shape[1])
    return tuple(map(estimate, (first.values[:, :steps] - second.values[:, :steps]).T))


def is_transductive(learner: Learner, params: Params, episode: Episode) -> bool:
    """Finds out whether a query's prediction changes when the other queries are taken away."""
    # The largest relative difference; in full float32, so that another batch size does not round otherwise by so much.
    with jax.default_matmul_precision("highest"):
        return bool(_dependence(params, episode, learner=learner) > 1e-2)


@functools.partial(jax.jit, static_argnames="learner")
def _dependence(params: Params, episode: Episode, *, learner: Learner) -> jax.Array:
    query = episode.query
    # A real row: of a padded one nothing is promised.
    row = 0 if query.mask is None else query.mask.argmax()
    adapted = learner.adapt(params, jax.random.key(0), episode.support, classes=episode.classes)
    x = jax.lax.dynamic_slice_in_dim(query.x, row, 1)
    mask = None if query.mask is None else jnp.ones(1, bool)
    together = jax.lax.dynamic_slice_in_dim(learner.predict(params, adapted, query.x, mask=query.mask), row, 1)
    alone = learner.predict(params, adapted, x, mask=mask)
    scale = jnp.maximum(jnp.abs(together).max(), jnp.abs(alone).max())
    return jnp.abs(together - alone).max() / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def validator(
    learner: Learner,
    sampler: Sampler,
    *,
    metric: LossFn,
    episodes: int = 100,
    seed: int = 1,
    batch_size: int = 1,
) -> Callable[[Params], Mapping[str, float]]:
    """Builds the validation of :func:`jmeta.fit`: the mean loss and metric over fixed episodes, after the training number of steps.

    Args:
      learner: the learner.
      sampler: of one validation episode.
      metric: as for :func:`evaluate`.
      episodes: how many.
      seed: which.
      batch_size: episodes that run at once.
    """

    def one(params: Params, data: Any, key: jax.Array) -> dict[str, jax.Array]:
        sample_key, loss_key = jax.random.split(key)
        episode = sampler.sample(data, sample_key)
        adapted = learner.adapt(params, loss_key, episode.support, classes=episode.classes)
        _, metrics = learner.loss(params, loss_key, episode)
        name = getattr(metric, "__name__", "metric")
        return {"loss": metrics["loss"], name: _score(learner, params, adapted, episode, metric)}

    @jax.jit
    def all_episodes(params: Params, data: Any) -> dict[str, jax.Array]:
        keys = jax.random.split(jax.random.key(seed), episodes)
        found = _map(lambda key: one(params, data, key), keys, batch_size)
        return jax.tree.map(lambda values: values.mean(), found)

    return lambda params: {name: float(value) for name, value in all_episodes(params, sampler.data).items()}


# Jitted here, and not in evaluate, so that a second evaluation of the same learner compiles nothing.
@functools.partial(jax.jit, static_argnames=("learner", "sample", "metric", "num_steps", "batch_size"))
def _all_values(
    params: Params,
    data: Any,
    keys: jax.Array,
    *,
    learner: Learner,
    sample: Callable[[Any, jax.Array], Episode],
    metric: LossFn,
    num_steps: int | None,
    batch_size: int,
) -> jax.Array:
    """Gives ``[episodes, k + 1]`` scores; an episode is drawn where it is used."""

    def one(key: jax.Array) -> jax.Array:
        sample_key, adapt_key = jax.random.split(key)
        episode = sample(data, sample_key)
        support, classes = episode.support, episode.classes
        if num_steps is None or learner.path is None:
            adapted = learner.adapt(params, adapt_key, support, classes=classes)
            return _score(learner, params, adapted, episode, metric)[None]
        path = learner.path(params, adapt_key, support, num_steps, classes=classes)
        # One number of steps after another: a vmap over them would be a vmap over weights.
        return jax.lax.map(lambda adapted: _score(learner, params, adapted, episode, metric), path)

    return _map(one, keys, batch_size)


def _map(one: Callable[[jax.Array], Any], keys: jax.Array, batch_size: int) -> Any:
    return jax.lax.map(one, keys, batch_size=None if batch_size == 1 else batch_size)


def _score(learner: Learner, params: Params, adapted: Any, episode: Episode, metric: LossFn) -> jax.Array:
    query = episode.query
    return score(metric, learner.predict(params, adapted, query.x, mask=query.mask), query, episode.classes)


def _digest(episode: Episode) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(episode):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
