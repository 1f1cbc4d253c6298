"""One task: what outputs cost on its targets, and the objective of most learners."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._presence import with_presence
from jmeta._rows import counts_of, fill_absent, fill_batch, mean_over_rows, shield
from jmeta._sentences import first_line, kinds, shapes
from jmeta._types import Adapt, Batch, Episode, LearnerLoss, LossFn, Mask, Metrics, Params, Predict
from jmeta._validation import check_booleans, check_one_task


def mask_absent_classes(outputs: Any, classes: Mask) -> Any:
    """Makes the logits ``[n, ways]`` of absent classes so low that no softmax and no argmax sees them.

    Of structured outputs the loss itself knows which part are logits; of one number per row, ``[n]`` or ``[n, 1]``, none is that of
    a class.
    """
    if classes is None or not hasattr(outputs, "shape") or outputs.ndim < 2 or outputs.shape[1:] == (1,):
        return outputs
    if outputs.shape[-1:] != classes.shape:
        raise ValueError(
            f"classes must mark each of the model's outputs; got classes of shape {classes.shape} for outputs {outputs.shape}."
        )
    return jnp.where(classes, outputs, jnp.finfo(outputs.dtype).min / 2)


def score(fn: LossFn, outputs: Any, batch: Batch, classes: Mask = None, *, name: str = "loss_fn") -> jax.Array:
    """Averages a loss or a metric over what counts in one task: the real rows, each target by its weight.

    What does not count never matters, whatever it holds: it has no part in the value and none in the gradient. Where nothing
    counts, both are 0.

    Args:
      fn: ``(outputs, targets) -> [n, ...]``.
      outputs: what a model makes of ``batch.x``, leaves ``[n, ...]``.
      batch: the examples.
      classes: ``[ways]``, the real classes. A row whose label is none of them does not count; the logits of the others are so low
        that no softmax, sigmoid or margin sees them, which a loss by differences from one-hot labels does.
      name: what to call ``fn`` in an error.

    Raises:
      ValueError: if ``fn`` does not take outputs and targets of these shapes and types, the result's first axis is not ``n``, or
        the weights do not have the first axes of the result.
    """
    _check_what_counts(batch)
    counts, targets = counts_of(batch, classes), batch.y
    outputs = mask_absent_classes(outputs, classes)
    if counts is not None:
        outputs, targets = shield(outputs, counts), fill_absent(targets, counts)
    try:
        values = fn(outputs, targets)
    except jax.errors.JAXTypeError:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must take the outputs and targets given to it; got outputs {kinds(outputs)} and targets {kinds(targets)}: "
            f"{first_line(error)}"
        ) from error
    _check_values(name, values, outputs, targets)
    if counts is not None and values.shape[: counts.ndim] != counts.shape:
        raise ValueError(f"weights must have the first axes of what {name} gives; got weights {counts.shape} for {values.shape}.")
    return mean_over_rows(values, counts)


def query_loss(adapt: Adapt, predict: Predict, loss_fn: LossFn) -> LearnerLoss:
    """Builds the objective of most learners: adapt on the support, be judged on the query."""

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        del step
        check_one_task(episode)
        query, classes = fill_batch(episode.query), episode.classes
        adapt_key, predict_key = jax.random.split(key)
        adapted = adapt(params, adapt_key, fill_batch(episode.support), classes=classes, training=training)
        outputs = predict(params, adapted, query.x, key=predict_key if training else None, mask=query.mask)
        value = score(loss_fn, outputs, query, classes)
        return value, with_presence({"loss": value}, query)

    return loss


def _check_what_counts(batch: Batch) -> None:
    check_booleans("mask", batch.mask)
    if batch.weights is not None and not hasattr(batch.weights, "ndim"):
        raise ValueError(f"weights must be one array, of the first axes of the losses; got {type(batch.weights).__name__}.")


def _check_values(name: str, values: Any, outputs: Any, targets: Any) -> None:
    if not hasattr(values, "shape"):
        raise ValueError(f"{name} must give one row per example, [n, ...]; got {type(values).__name__}.")
    parts, answers = jax.tree.leaves(outputs), jax.tree.leaves(targets)
    # [n, 1] with [n] broadcasts to all pairs of rows.
    one = len(parts) == len(answers) == 1
    known = [leaf.shape for leaf in (*parts, *answers)]
    pairs = one and parts[0].ndim != answers[0].ndim and values.ndim > 1 and values.shape not in known
    rows = known[0][:1]
    # Of a map, [n, 1, 1] with [n, h, w] broadcasts one pixel to all; one answer to several outputs, the last axis, may be meant.
    maps = one and parts[0].ndim == answers[0].ndim > 2 and parts[0].shape[1:-1] != answers[0].shape[1:-1]
    if pairs or maps or not values.ndim or any(shape[:1] != rows for shape in (values.shape, *known)):
        raise ValueError(
            f"{name} must give one row per example, [n, ...]; got {values.shape} from outputs {shapes(outputs)} and targets "
            f"{shapes(targets)}."
        )
