"""From episodes to estimates with confidence intervals, after 0, 1, ..., k adaptation steps."""

import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jmeta._episodes import Draw, drawn, episodes_of, in_batches
from jmeta._estimates import Estimate, estimate
from jmeta._options import check_counts
from jmeta._presence import mean_of_present
from jmeta._rows import count_rows, counts_of
from jmeta._scoring import score
from jmeta._types import PRESENT, Adapted, Episode, Learner, LossFn, Params, Sampler
from jmeta._validation import check_task


class Evaluation(NamedTuple):
    """A learner's score on a fixed list of episodes.

    Attributes:
      metric: its name.
      steps: the numbers of adaptation steps that were scored; None where adapting is not iterative.
      after_steps: the estimate after each of these numbers of steps.
      values: ``[episodes, len(steps)]``, each episode's mean over its query; without those in whose query nothing counts.
      diverged: after each number of steps, how many episodes had a score that was not finite.
      normalization: what the model's activations were normalised with.
      transductive: whether a query's prediction was seen to depend on the other queries.
      milliseconds_per_episode: wall time of adapting and predicting, compilation left out.
      seed: which episodes.
      sizes: rows of the first episode's support and query, and its ways where it has classes.
      episodes: SHA-256 of the first episode, which tells two lists apart.
    """

    metric: str
    steps: tuple[int | None, ...]
    after_steps: tuple[Estimate, ...]
    values: np.ndarray
    diverged: tuple[int, ...]
    normalization: str
    transductive: bool
    milliseconds_per_episode: float
    seed: int
    sizes: dict[str, int]
    episodes: str


def evaluate(
    learner: Learner,
    params: Params,
    sampler: Sampler,
    *,
    metric: LossFn,
    num_steps: int | None = None,
    episodes: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
    training: bool = False,
) -> Evaluation:
    """Scores a learner on episodes that depend on ``sampler`` and ``seed`` alone, so that every learner sees the same.

    Tasks of a finite list are scored once each, so that the interval is over different tasks. An episode in whose query nothing
    counts has no score and is left out.

    Args:
      learner: the learner.
      params: its parameters.
      sampler: of one episode.
      metric: ``(outputs, targets) -> [n, ...]``, such as ``jmeta.accuracy``; its ``__name__`` is reported. Keep it: a new lambda
        compiles everything anew.
      num_steps: report after 0, 1, ..., ``num_steps`` adaptation steps, which may exceed the training number; None reports the
        learner as it was trained.
      episodes: how many; by default 1,000, or all tasks of a finite list.
      seed: which.
      batch_size: episodes that run at once.
      training: adapt with models in training mode, so that dropout stays on in the inner steps; predictions are deterministic in
        either case.

    Raises:
      ValueError: if ``num_steps`` is given for a learner without a path, counts are out of range, the sampler draws batches of
        tasks, or the first episode is not sound.
    """
    if num_steps is not None and learner.path is None:
        raise ValueError(f"num_steps must be None for a learner whose adaptation is not iterative; got {num_steps}.")
    check_counts(0, num_steps=num_steps)
    draw, which, first = episodes_of(sampler, episodes, seed, batch_size, endless=1000)
    check_task(learner, params, first, metric)
    compiled = _values(learner, draw, metric, num_steps, batch_size, training).lower(params, sampler.data, which).compile()
    start = time.perf_counter()
    values, present = map(np.asarray, compiled(params, sampler.data, which))
    milliseconds = 1e3 * (time.perf_counter() - start) / len(values)
    values = np.asarray(values, np.float64)[present]
    return Evaluation(
        metric=name_of(metric),
        steps=(learner.num_steps,) if num_steps is None else tuple(range(num_steps + 1)),
        after_steps=tuple(map(estimate, values.T)),
        values=values,
        diverged=tuple((~np.isfinite(values)).sum(axis=0).tolist()),
        normalization=learner.normalization,
        transductive=is_transductive(learner, params, first),
        milliseconds_per_episode=milliseconds,
        seed=seed,
        sizes=_sizes(first),
        episodes=_digest(first),
    )


def paired_difference(first: Evaluation, second: Evaluation) -> dict[int | None, Estimate]:
    """Estimates ``first - second`` from the differences on each episode, after each number of steps that both were scored after.

    A learner whose adaptation is not iterative has no number of steps: it is compared with one that was scored as it was trained.

    Returns:
      Estimates by the number of steps, which is None if one of the two has none.

    Raises:
      ValueError: if the two were not evaluated with the same metric on the same episodes, or share no number of steps.
    """
    same = (first.metric, first.episodes, len(first.values)) == (second.metric, second.episodes, len(second.values))
    if not same:
        raise ValueError(
            "paired_difference needs two evaluations with one metric on the same episodes; got "
            f"{first.metric} on {len(first.values)} and {second.metric} on {len(second.values)} episodes, "
            f"beginning {first.episodes[:8]} and {second.episodes[:8]}."
        )
    if None in (*first.steps, *second.steps) and len(first.steps) == len(second.steps) == 1:
        return {None: estimate(first.values[:, 0] - second.values[:, 0])}
    shared = [steps for steps in first.steps if steps in second.steps]
    if not shared:
        raise ValueError(
            f"paired_difference needs a number of steps that both were scored after; got {_steps(first)} and {_steps(second)}: "
            "evaluate both with num_steps, or, where one does not iterate, both without."
        )
    at = [(first.steps.index(steps), second.steps.index(steps)) for steps in shared]
    differences = [first.values[:, one] - second.values[:, other] for one, other in at]
    return dict(zip(shared, map(estimate, differences), strict=True))


def is_transductive(learner: Learner, params: Params, episode: Episode) -> bool:
    """Finds out whether a query's prediction changes when the other queries are taken away."""
    # The largest relative difference; in full float32, so that another batch size does not round otherwise by so much.
    with jax.default_matmul_precision("highest"):
        return bool(_dependence(learner)(params, episode) > 1e-2)


def validator(
    learner: Learner,
    sampler: Sampler,
    *,
    metric: LossFn,
    episodes: int | None = None,
    seed: int = 1,
    batch_size: int = 1,
) -> Callable[[Params], Mapping[str, Any]]:
    """Builds the validation of :func:`jmeta.fit`: the mean loss and metric over fixed episodes, after the training number of steps.

    Models are deterministic. The metric ``diverged`` counts the episodes whose loss is not finite; with one of them the mean loss
    is not either, and such parameters are never the best.

    Args:
      learner: the learner.
      sampler: of one validation episode.
      metric: as for :func:`evaluate`.
      episodes: how many; by default 100, or all tasks of a finite list.
      seed: which.
      batch_size: episodes that run at once.

    Raises:
      ValueError: as :func:`evaluate`; the learner's outputs are looked at with the first parameters.
    """
    draw, which, first = episodes_of(sampler, episodes, seed, batch_size, endless=100)
    name = name_of(metric)

    def one(params: Params, data: Any, which: Any) -> dict[str, jax.Array]:
        episode, key = drawn(draw, data, which)
        _, metrics = learner.loss(params, key, episode, training=False)
        adapted = learner.adapt(params, key, episode.support, classes=episode.classes)
        return {"loss": metrics["loss"], name: _score(learner, params, adapted, episode, metric), PRESENT: _present(episode)}

    @jax.jit
    def all_episodes(params: Params, data: Any) -> dict[str, jax.Array]:
        check_task(learner, params, first, metric)
        found = in_batches(lambda which: one(params, data, which), which, batch_size)
        present = found.pop(PRESENT)
        means = {name: mean_of_present(values, present) for name, values in found.items()}
        return means | {"diverged": (~jnp.isfinite(found["loss"])).sum()}

    def validate(params: Params) -> Mapping[str, Any]:
        found = all_episodes(params, sampler.data)
        # In a traced function, as in a sweep, they stay arrays.
        return {name: value if isinstance(value, Tracer) else float(value) for name, value in found.items()}

    return validate


def name_of(metric: LossFn) -> str:
    """Gives the name that a metric is reported by."""
    return getattr(metric, "__name__", "metric")


# Kept, so that a second evaluation of the same learner compiles nothing; not all, because a new lambda each time would pile up.
@functools.lru_cache(maxsize=16)
def _values(learner: Learner, draw: Draw, metric: LossFn, num_steps: int | None, batch_size: int, training: bool) -> Any:
    """Builds ``(params, data, which)`` to ``[episodes, steps]`` scores and which of them count, ``[episodes]``.

    An episode is drawn where it is used.
    """

    def one(params: Params, data: Any, which: Any) -> tuple[jax.Array, jax.Array]:
        episode, key = drawn(draw, data, which)
        support, classes = episode.support, episode.classes
        if num_steps is None or learner.path is None:
            adapted = learner.adapt(params, key, support, classes=classes, training=training)
            return _score(learner, params, adapted, episode, metric)[None], _present(episode)
        path = learner.path(params, key, support, num_steps, classes=classes, training=training)
        # One number of steps after another: a vmap over them would be a vmap over weights.
        return jax.lax.map(lambda adapted: _score(learner, params, adapted, episode, metric), path), _present(episode)

    return jax.jit(lambda params, data, which: in_batches(functools.partial(one, params, data), which, batch_size))


@functools.lru_cache(maxsize=16)
def _dependence(learner: Learner) -> Callable[[Params, Episode], jax.Array]:
    """Builds the largest relative change of one query's prediction when the others are taken away."""

    def row_of(tree: Any, row: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, row, 1), tree)

    def change(together: jax.Array, alone: jax.Array) -> jax.Array:
        scale = jnp.maximum(jnp.abs(together).max(), jnp.abs(alone).max())
        return jnp.abs(together - alone).max() / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)

    def dependence(params: Params, episode: Episode) -> jax.Array:
        query = episode.query
        # A real row: of a padded one nothing is promised.
        row = 0 if query.mask is None else query.mask.argmax()
        adapted = learner.adapt(params, jax.random.key(0), episode.support, classes=episode.classes)
        together = row_of(learner.predict(params, adapted, query.x, mask=query.mask), row)
        alone = learner.predict(params, adapted, row_of(query.x, row), mask=None if query.mask is None else jnp.ones(1, bool))
        changes = jax.tree.map(change, together, alone)
        return jnp.stack(jax.tree.leaves(changes)).max()

    return jax.jit(dependence)


def _score(learner: Learner, params: Params, adapted: Adapted, episode: Episode, metric: LossFn) -> jax.Array:
    query = episode.query
    outputs = learner.predict(params, adapted, query.x, mask=query.mask)
    return score(metric, outputs, query, episode.classes, name="metric")


def _present(episode: Episode) -> jax.Array:
    """Says whether anything in the query counts."""
    counts = counts_of(episode.query, episode.classes)
    return jnp.ones((), bool) if counts is None else (counts != 0).any()


def _sizes(episode: Episode) -> dict[str, int]:
    rows = {"support": count_rows(episode.support.x), "query": count_rows(episode.query.x)}
    return rows if episode.classes is None else rows | {"ways": len(episode.classes)}


def _steps(evaluation: Evaluation) -> str:
    return "no steps" if evaluation.steps == (None,) else f"{', '.join(map(str, evaluation.steps))} steps"


def _digest(episode: Episode) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(episode):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
