"""What metrics see of outputs and targets: checked, flat, and without absent entries."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Entries(NamedTuple):
    """The logits and labels of a set metric.

    Attributes:
      logits: ``[m, ways]`` of classes that exclude each other; or ``[m, k]``, one for each of k labels.
      labels: ``[m]``; or ``[m, k]`` zeros and ones.
      weights: of the labels' shape. Absent entries are left out, or have weight 0 and finite logits.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def has_one_logit(outputs: jax.Array | np.ndarray, targets: jax.Array | np.ndarray) -> bool:
    """Tells one logit per label from several, ``[..., ways]``, by shapes and types alone, and refuses everything else."""
    if not (jnp.issubdtype(targets.dtype, jnp.integer) or jnp.issubdtype(targets.dtype, jnp.bool_)):
        raise ValueError(f"targets must hold integer or boolean labels; got dtype {targets.dtype}.")
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(f"outputs must hold floating-point logits, nothing decided; got dtype {outputs.dtype}.")
    if outputs.shape in (targets.shape, (*targets.shape, 1)):
        return True
    if outputs.shape[:-1] != targets.shape or not outputs.shape[-1]:
        raise ValueError(
            "outputs must have the shape of the targets and then one axis of logits, or exactly the targets' shape; "
            f"got outputs {outputs.shape} and targets {targets.shape}."
        )
    return False


def by_label(outputs: Any, targets: Any, weights: Any) -> Entries:
    """Keeps labels with a logit each apart, ``[n, k]``; labels ``[n]``, or of outputs with a trailing 1, are one column."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if outputs.shape == targets.shape and targets.ndim > 2:
        raise ValueError(
            "outputs and targets of one shape must be [n] or [n, labels], and where all entries are of one label outputs need a "
            f"trailing 1; got shape {targets.shape}."
        )
    entries = _read(outputs, targets, weights)
    if entries.logits.ndim > entries.labels.ndim:
        return entries
    shape = targets.shape if outputs.shape == targets.shape and targets.ndim == 2 else (-1, 1)
    return Entries(*(part.reshape(shape) for part in entries))


def pooled(outputs: Any, targets: Any, weights: Any, *, void: int | None = None) -> Entries:
    """Puts all entries into one problem with classes ``[m, ways]``; one logit z is the two logits 0 and z."""
    logits, labels, weights = _read(np.asarray(outputs), np.asarray(targets), weights, void)
    if logits.ndim > labels.ndim:
        return Entries(logits, labels, weights)
    present = weights > 0
    logits = logits[present]
    return Entries(np.stack([np.zeros_like(logits), logits], axis=-1), labels[present], weights[present])


def columns_of_numbers(outputs: Any, targets: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives outputs, targets and weights of a regression as ``[n, columns]``, absent entries 0."""
    outputs, targets = np.asarray(outputs, np.float64), np.asarray(targets, np.float64)
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape; got {outputs.shape} and {targets.shape}.")
    weights = weights_like(weights, targets.shape)
    present = weights > 0
    outputs, targets = np.where(present, outputs, 0), np.where(present, targets, 0)
    _check_finite("outputs", outputs)
    _check_finite("targets", targets)
    shape = len(targets), math.prod(targets.shape[1:])
    return outputs.reshape(shape), targets.reshape(shape), weights.reshape(shape)


def mean_of_defined(values: Any) -> float:
    """Averages what is not NaN; NaN where nothing is left."""
    defined = np.asarray(values)[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def weights_like(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Spreads weights of the first axes over a whole shape; None weighs all entries alike."""
    if not shape:
        raise ValueError("targets must have rows, [n, ...]; got a scalar.")
    weights = np.ones(shape[0]) if weights is None else np.asarray(weights, np.float64)
    if not weights.ndim or weights.shape != shape[: weights.ndim]:
        raise ValueError(f"weights must have the first axes of {shape}, [n] at least; got shape {weights.shape}.")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"weights must be finite and not negative; got {weights.min()} to {weights.max()}.")
    return np.broadcast_to(weights.reshape(*weights.shape, *[1] * (len(shape) - weights.ndim)), shape)


def _read(outputs: np.ndarray, targets: np.ndarray, weights: Any, void: int | None = None) -> Entries:
    """Checks, and gives ``[entries, ways]`` logits for ``[entries]`` labels, or as many logits as labels with absent ones 0."""
    one_logit = has_one_logit(outputs, targets)
    weights = weights_like(weights, targets.shape)
    if void is not None:
        weights = np.where(targets == void, 0.0, weights)
    present = weights > 0
    labels, ways = np.where(present, targets, 0).astype(np.int64), 2 if one_logit else outputs.shape[-1]
    wrong = labels[(labels < 0) | (labels >= ways)]
    if wrong.size:
        raise ValueError(f"targets must hold labels 0, ..., {ways - 1} where weights are above 0; got label {wrong[0]}.")
    if one_logit:
        entries = Entries(np.where(present, outputs.reshape(targets.shape), 0), labels, weights)
    elif present.all():
        entries = Entries(outputs.reshape(-1, ways), labels.reshape(-1), weights.reshape(-1))
    else:
        entries = Entries(outputs[present], labels[present], weights[present])
    _check_finite("outputs", entries.logits)
    return entries


def _check_finite(name: str, values: np.ndarray) -> None:
    if wrong := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{name} must be finite where weights are above 0; got {wrong} values that are NaN or infinite.")
