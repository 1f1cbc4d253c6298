"""Predictions first, metrics after: what is no mean over rows is computed on all of them, on the host."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._episodes import Draw, drawn, episodes_of, in_batches
from jmeta._metrics.bootstrap import Predictions
from jmeta._options import check_counts
from jmeta._rows import count_rows, counts_of, fill
from jmeta._scoring import mask_absent_classes
from jmeta._types import Batch, Learner, Mask, Params, Sampler
from jmeta._validation import check_rows


def predict_episodes(
    learner: Learner,
    params: Params,
    sampler: Sampler,
    *,
    num_steps: int | None = None,
    episodes: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
    training: bool = False,
) -> Predictions:
    """Predicts the queries of the episodes that :func:`jmeta.evaluate` would score, for :func:`jmeta.metrics.measure`.

    Args:
      learner: the learner.
      params: its parameters.
      sampler: of one episode, all with as many classes.
      num_steps: adaptation steps; None adapts as in training.
      episodes: as for :func:`jmeta.evaluate`.
      seed: which.
      batch_size: episodes that run at once.
      training: as for :func:`jmeta.evaluate`.

    Returns:
      Rows of all episodes, whose ``tasks`` say which episode each is of; masked rows have weight 0.

    Raises:
      ValueError: as :func:`jmeta.evaluate`.
    """
    if num_steps is not None and (learner.path is None or num_steps < 0):
        raise ValueError(f"num_steps must be None, or at least 0 for a learner with a path; got {num_steps}.")
    check_counts(0, num_steps=num_steps)
    draw, which, _ = episodes_of(sampler, episodes, seed, batch_size, endless=1000)
    outputs, targets, weights = jax.device_get(
        _outputs(learner, draw, num_steps, batch_size, training)(params, sampler.data, which)
    )
    numbers = np.repeat(np.arange(len(weights)), weights.shape[1])
    outputs, targets, weights = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (outputs, targets, weights))
    return Predictions(outputs, targets, weights, numbers)


def predict_batch(apply: Callable[..., Any], params: Params, batch: Batch, *, batch_size: int = 256) -> Predictions:
    """Predicts one set of examples, some at a time, for :func:`jmeta.metrics.measure`.

    Args:
      apply: ``(params, x, *, mask=None) -> outputs``, as that of a :class:`jmeta.Model`; it is deterministic. Keep it: a new lambda
        compiles anew.
      params: its parameters.
      batch: the examples.
      batch_size: rows that run at once. A model that mixes rows (batch statistics) sees only these together.

    Raises:
      ValueError: if rows do not match, or ``batch_size`` is below 1.
    """
    check_rows("batch", batch)
    check_counts(batch_size=batch_size)
    rows, size = count_rows(batch.x), min(batch_size, count_rows(batch.x))
    x, found = fill(batch.x, batch.mask), []
    for start in range(0, rows, size):
        # The last rows come with some of those before them, so that one program serves all.
        first = max(0, min(start, rows - size))
        part, mask = jax.tree.map(lambda leaf, first=first: leaf[first : first + size], (x, batch.mask))
        outputs = _applied(apply)(params, part, mask)
        found.append(jax.tree.map(lambda leaf, skip=start - first: np.asarray(leaf)[skip:], outputs))
    outputs = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return Predictions(outputs, jax.device_get(batch.y), jax.device_get(counts_of(batch)))


@functools.lru_cache(maxsize=16)
def _outputs(learner: Learner, draw: Draw, num_steps: int | None, batch_size: int, training: bool) -> Any:
    def one(params: Params, data: Any, which: Any) -> Any:
        episode, key = drawn(draw, data, which)
        (support, query, classes, _), mode = episode, {"classes": episode.classes, "training": training}
        if num_steps is None or learner.path is None:
            adapted = learner.adapt(params, key, support, **mode)
        else:
            adapted = jax.tree.map(lambda leaf: leaf[-1], learner.path(params, key, support, num_steps, **mode))
        outputs = mask_absent_classes(learner.predict(params, adapted, query.x, mask=query.mask), classes)
        counts = counts_of(query, classes)
        return outputs, query.y, jnp.ones(count_rows(query.x)) if counts is None else counts

    return jax.jit(lambda params, data, which: in_batches(functools.partial(one, params, data), which, batch_size))


@functools.lru_cache(maxsize=16)
def _applied(apply: Callable[..., Any]) -> Any:
    def applied(params: Params, x: Any, mask: Mask) -> Any:
        return apply(params, x) if mask is None else apply(params, x, mask=mask)

    return jax.jit(applied)
