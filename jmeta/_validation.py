"""Checks of one task: of its shapes always, of its values where they are known, which is outside jit and vmap."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jmeta._options import check_model
from jmeta._rows import fill
from jmeta._sentences import kinds, shapes
from jmeta._types import Batch, Episode, Learner, LossFn, Model, Params
from jmeta.metrics import accuracy, negative_log_likelihood

# What takes labels below the number of its outputs, and what takes one logit for two classes besides; of any other loss integers
# may be counts, ranks or bits.
CLASSIFICATION = (optax.softmax_cross_entropy_with_integer_labels,)
BINARY_TOO = (accuracy, negative_log_likelihood)


def checked_init(model: Model, key: jax.Array, episode: Episode, loss_fn: LossFn) -> Params:
    """Makes the parameters of a model whose outputs are a learner's, after a look at the first task."""
    check_model("model", model)
    check_episode(episode)
    x = fill(episode.support.x, episode.support.mask)
    params = model.init(key, x)
    outputs = jax.eval_shape(model.apply, params, x)
    check_episode(episode, ways=_ways(episode, outputs, loss_fn))
    return params


def check_task(learner: Learner, params: Params, episode: Episode, metric: LossFn) -> None:
    """Checks a task that a learner is to be judged on."""
    check_episode(episode)

    def predictions(params: Params, episode: Episode) -> Any:
        adapted = learner.adapt(params, jax.random.key(0), episode.support, classes=episode.classes)
        return learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)

    check_episode(episode, ways=_ways(episode, jax.eval_shape(predictions, params, episode), metric))


def check_episode(episode: Episode, *, ways: int | None = None) -> None:
    """Checks one task, without a task axis, before anything is learnt from it.

    Args:
      episode: the task. Its values are checked outside jit and vmap only.
      ways: where targets are labels, how many classes the learner knows; those of ``episode.classes`` where it has them.

    Raises:
      ValueError: if it is a batch of tasks, a part is empty, rows do not match, a mask is not boolean, values are no numbers or not
        finite, weights are negative, or labels are no integers below ``ways`` of a real class.
    """
    check_one_task(episode)
    classes = episode.classes
    ways = ways if ways is not None or classes is None else len(classes)
    for name, batch in {"support": episode.support, "query": episode.query}.items():
        if ways is not None and not (hasattr(batch.y, "dtype") and np.issubdtype(batch.y.dtype, np.integer)):
            raise ValueError(f"{name}.y must hold integer labels; got {kinds(batch.y)}.")
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((batch, classes))):
            _check_values(name, jax.device_get(batch), ways, None if classes is None else np.asarray(classes))


def check_one_task(episode: Episode) -> None:
    """Checks the shapes and types of one task, and that it is one.

    Raises:
      ValueError: as :func:`check_episode`.
    """
    if not isinstance(episode, Episode):
        raise ValueError(f"episode must be an Episode(support, query); got {type(episode).__name__}.")
    # Without any of these a batch of tasks looks like one task whose rows have one axis more.
    told = (episode.task, 0), (episode.classes, 1), (episode.support.mask, 1), (episode.query.mask, 1)
    for leaf, rank in told:
        if leaf is not None and np.ndim(leaf) > rank:
            raise ValueError(
                f"episode must be one task; got a batch of {np.shape(leaf)[0]} tasks: train on jmeta.over_tasks(learner.loss), "
                "and give evaluate, validator and init the sampler and the episode of one task."
            )
    check_booleans("classes", episode.classes)
    check_rows("support", episode.support)
    check_rows("query", episode.query)


def check_support_of_classes(episode: Episode) -> None:
    """Checks, outside jit and vmap, that every real class of a task has a support row.

    Raises:
      ValueError: if the task has no classes, or one of them no support.
    """
    if episode.classes is None:
        raise ValueError("classes must mark the classes of the task, [ways], for a learner that compares classes; got None.")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((episode.support.y, episode.support.mask, episode.classes))):
        return
    labels, mask = jax.device_get((episode.support.y, episode.support.mask))
    seen = np.isin(np.arange(len(episode.classes)), labels if mask is None else labels[mask])
    if lacking := np.flatnonzero(np.asarray(episode.classes) & ~seen).tolist():
        raise ValueError(f"support must hold an example of every class; got none of {', '.join(map(str, lacking))}.")


def check_rows(name: str, batch: Batch) -> None:
    """Checks that a part of a task has rows, and as many of everything."""
    check_numbers(f"{name}.x", batch.x)
    if batch.y is not None:
        check_numbers(f"{name}.y", batch.y)
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves((batch.x, batch.y))}
    if lengths == {0}:
        raise ValueError(f"{name} must hold at least one example; got none.")
    if len(lengths) > 1:
        raise ValueError(f"{name}.x and {name}.y must have one row per example; got {shapes(batch.x)} and {shapes(batch.y)}.")
    (rows,) = lengths
    if batch.mask is not None and np.shape(batch.mask) != (rows,):
        raise ValueError(f"{name}.mask must be [n] with one entry per row; got {np.shape(batch.mask)} for {rows} rows.")
    check_booleans(f"{name}.mask", batch.mask)
    if batch.weights is not None:
        check_numbers(f"{name}.weights", batch.weights)
    if any(np.shape(leaf)[:1] != (rows,) for leaf in jax.tree.leaves(batch.weights)):
        raise ValueError(f"{name}.weights must have one row per example; got {shapes(batch.weights)} for {rows} rows.")


def check_booleans(name: str, mask: Any) -> None:
    """Checks that a mask, where there is one, is an array of booleans.

    Raises:
      ValueError: if it is not, such as one of zeros and ones.
    """
    dtype = getattr(mask, "dtype", type(mask).__name__)
    if mask is not None and dtype != jnp.bool_:
        raise ValueError(f"{name} must hold booleans, in an array; got {dtype}: what rows count is for weights.")


def check_numbers(name: str, tree: Any) -> None:
    """Checks that a tree holds arrays of numbers or booleans.

    Raises:
      ValueError: for nothing, text, objects, dates, sparse matrices, and lists.
    """
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise ValueError(f"{name} must hold arrays; got {type(tree).__name__ if tree is not None else 'None'}.")
    for leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not hasattr(leaf, "ndim"):
            raise ValueError(f"{name} must hold arrays; got {type(leaf).__name__}.")
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
            raise ValueError(f"{name} must hold numpy or jax arrays; got {type(leaf).__name__}: make it one, a sparse one dense.")
        if not (
            jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_) or jnp.issubdtype(dtype, jax.dtypes.extended)
        ):
            raise ValueError(f"{name} must hold numbers; got dtype {dtype}.")


def check_storable(name: str, tree: Any) -> None:
    """Checks that values on the host are finite, and stay what they are where 64-bit numbers become 32-bit ones.

    Raises:
      ValueError: if one is not finite or too large.
    """
    if wrong := not_finite(tree):
        raise ValueError(f"{name} must be finite; got {wrong} values that are NaN or infinite.")
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        stored = jax.dtypes.canonicalize_dtype(leaf.dtype)
        if stored == leaf.dtype or not leaf.size:
            continue
        limits = jnp.iinfo(stored) if jnp.issubdtype(stored, jnp.integer) else jnp.finfo(stored)
        if np.real(leaf).min() < limits.min or np.real(leaf).max() > limits.max:
            raise ValueError(f"{name} must fit into {stored}; got {leaf.dtype} from {leaf.min()} to {leaf.max()}.")


def those_that_count(targets: Any, weights: Any) -> Any:
    """Leaves out the targets of weight 0, where their first axes are those of the weights."""

    def counted(leaf: Any, weights: Any) -> Any:
        leaf, weights = np.asarray(leaf), np.asarray(weights)
        return leaf[weights != 0] if leaf.shape[: weights.ndim] == weights.shape else leaf

    if weights is None:
        return targets
    if jax.tree.structure(targets) == jax.tree.structure(weights):
        return jax.tree.map(counted, targets, weights)
    return jax.tree.map(lambda leaf: counted(leaf, weights), targets) if hasattr(weights, "ndim") else targets


def check_weights(name: str, weights: Any) -> None:
    """Checks that weights on the host are finite and not negative.

    Raises:
      ValueError: if one is.
    """
    for leaf in map(np.asarray, jax.tree.leaves(weights)):
        if not_finite(leaf) or (leaf < 0).any():
            raise ValueError(f"{name} must be finite and at least 0; got {leaf.min()}.")


def not_finite(tree: Any) -> int:
    """Counts the values on the host that are NaN or infinite."""

    def wrong(leaf: Any) -> int:
        leaf = np.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return 0
        # NumPy knows neither bfloat16 nor the eight-bit types.
        known = leaf if np.issubdtype(leaf.dtype, np.inexact) else leaf.astype(np.float32)
        return int((~np.isfinite(known)).sum())

    return sum(map(wrong, jax.tree.leaves(tree)))


def _ways(episode: Episode, outputs: Any, loss_fn: LossFn) -> int | None:
    """Reads the number of classes off a learner's logits ``[n, ways]``, where the loss is one of classes."""
    labels = episode.support.y
    one = hasattr(outputs, "ndim") and hasattr(labels, "ndim")
    loss_fn = loss_fn.func if isinstance(loss_fn, functools.partial) else loss_fn
    if not one or loss_fn not in CLASSIFICATION + BINARY_TOO or outputs.ndim != labels.ndim + 1:
        return None
    return outputs.shape[-1] if loss_fn in CLASSIFICATION else max(outputs.shape[-1], 2)


def _check_values(name: str, batch: Batch, ways: int | None, classes: np.ndarray | None) -> None:
    real = np.ones(len(jax.tree.leaves(batch.x)[0]), bool) if batch.mask is None else np.asarray(batch.mask)
    x, y = jax.tree.map(lambda leaf: np.asarray(leaf)[real], (batch.x, batch.y))
    weights = jax.tree.map(lambda leaf: np.asarray(leaf)[real], batch.weights)
    check_weights(f"{name}.weights", weights)
    y = those_that_count(y, weights)
    for field, values in (("x", x), ("y", y)):
        if wrong := not_finite(values):
            raise ValueError(f"{name}.{field} must be finite; got {wrong} values that are NaN or infinite.")
    if ways is None:
        return
    labels = np.asarray(y)
    wrong = labels[(labels < 0) | (labels >= ways)]
    if wrong.size:
        worst = wrong.min() if wrong.min() < 0 else wrong.max()
        raise ValueError(f"{name}.y must hold labels 0, ..., {ways - 1}, one per output of the learner; got label {worst}.")
    if classes is not None and (absent := labels[~classes[labels]]).size:
        raise ValueError(
            f"{name}.y must hold labels of real classes, {np.flatnonzero(classes).tolist()}; got label {absent.max()}, of which "
            "the task has no support or which its classes leave out."
        )
