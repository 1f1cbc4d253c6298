"""Checks of one task: of its shapes always, of its values where they are known, which is outside jit and vmap."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jmeta._types import Batch, Episode, Learner, Model, Params


def checked_init(model: Model, key: jax.Array, episode: Episode) -> Params:
    """Makes the parameters of a model whose outputs are a learner's, after a look at the first task."""
    check_episode(episode)
    params = model.init(key, episode.support.x)
    check_episode(episode, ways=_ways(episode, jax.eval_shape(model.apply, params, episode.support.x)))
    return params


def check_task(learner: Learner, params: Params, episode: Episode) -> None:
    """Checks a task that a learner is to be judged on."""
    check_episode(episode)

    def predictions(params: Params, episode: Episode) -> jax.Array:
        adapted = learner.adapt(params, jax.random.key(0), episode.support, classes=episode.classes)
        return learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)

    check_episode(episode, ways=_ways(episode, jax.eval_shape(predictions, params, episode)))


def check_episode(episode: Episode, *, ways: int | None = None) -> None:
    """Checks one task, without a task axis, before anything is learnt from it.

    Args:
      episode: the task. Its values are checked outside jit and vmap only.
      ways: where targets are labels, how many classes the learner knows.

    Raises:
      ValueError: if a part is empty, rows do not match, values are not finite, or labels are no integers below ``ways``.
    """
    for name, batch in {"support": episode.support, "query": episode.query}.items():
        check_rows(name, batch)
        if ways is not None and not np.issubdtype(batch.y.dtype, np.integer):
            raise ValueError(f"{name}.y must hold integer labels; got dtype {batch.y.dtype}.")
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(batch)):
            _check_values(name, jax.device_get(batch), ways)


def check_rows(name: str, batch: Batch) -> None:
    """Checks that a part of an episode has rows, and as many inputs and mask entries as targets."""
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves((batch.x, batch.y))}
    if lengths == {0}:
        raise ValueError(f"{name} must hold at least one example; got none.")
    if len(lengths) > 1:
        raise ValueError(f"{name}.x and {name}.y must have one row per example; got {_shapes(batch.x)} and {_shapes(batch.y)}.")
    if batch.mask is not None and batch.mask.shape != (*lengths,):
        raise ValueError(f"{name}.mask must be [n] with one entry per row; got {batch.mask.shape} for {lengths.pop()} rows.")


def _ways(episode: Episode, outputs: Any) -> int | None:
    """Reads the number of classes that a learner knows from its outputs ``[n, ways]``; None for other tasks."""
    labels = episode.support.y
    classifies = np.issubdtype(labels.dtype, np.integer) and outputs.ndim == labels.ndim + 1
    return outputs.shape[-1] if classifies else None


def _check_values(name: str, batch: Batch, ways: int | None) -> None:
    real = slice(None) if batch.mask is None else batch.mask
    for field in ("x", "y"):
        wrong = sum(int((~np.isfinite(leaf[real])).sum()) for leaf in jax.tree.leaves(getattr(batch, field)))
        if wrong:
            raise ValueError(f"{name}.{field} must be finite; got {wrong} values that are NaN or infinite.")
    if ways is None:
        return
    labels = np.asarray(batch.y)[real]
    wrong = labels[(labels < 0) | (labels >= ways)]
    if wrong.size:
        raise ValueError(f"{name}.y must hold labels 0, ..., {ways - 1}, one per output of the learner; got label {wrong.max()}.")


def _shapes(values: Any) -> Any:
    shapes = [leaf.shape for leaf in jax.tree.leaves(values)]
    return shapes[0] if len(shapes) == 1 else shapes
