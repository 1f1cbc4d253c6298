"""What a teacher says of examples, beside their labels: of a whole set once, or of each batch as it comes."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model
from jmeta._rows import fill_batch
from jmeta._types import Batch, Mask, Metrics, Model, Objective, ObjectiveWithMemory, Params
from jmeta._validation import check_rows
from jmeta.predictions import predict_batch
from jmeta.tasks._groups import as_floats
from jmeta.transfer._taught import Taught


def teach(teacher: Model, params: Params, batch: Batch, *, batch_size: int = 256) -> Batch:
    """Asks a teacher once about every example of a set, so that its logits go into training as data beside the labels.

    What it says depends on no key: it is deterministic. ``jmeta.minibatches(taught.x, taught.y, size)`` draws from the result. For
    inputs that change from step to step, see :func:`jmeta.transfer.taught_by`.

    Args:
      teacher: ``x -> logits``, in one array or by name.
      params: its parameters.
      batch: the examples; uint8 images become floats in [0, 1], as in :func:`jmeta.minibatches`.
      batch_size: rows that run at once.

    Returns:
      The batch, whose targets are ``Taught(labels, logits)``, on the host.

    Raises:
      ValueError: if the teacher is no model, or as :func:`jmeta.predict_batch`.
    """
    check_model("teacher", teacher)
    found = predict_batch(_of_floats(teacher.apply), params, batch, batch_size=batch_size)
    return batch._replace(y=Taught(batch.y, found.outputs))


def taught_by(objective: Objective, teacher: Model, params: Params) -> ObjectiveWithMemory:
    """Lets a teacher answer each batch that an objective of taught examples is given, such as one of augmented images.

    The teacher's parameters are what the objective remembers: they go through ``jit`` as an argument, no optimiser has a state for
    them, and nothing changes them. The teacher is deterministic, runs once for a batch, and gets no gradient.

    >>> import optax
    >>> import jmeta
    >>> from jmeta.nn import MultilayerPerceptron
    >>> student, teacher = (jmeta.from_linen(MultilayerPerceptron((width, 3))) for width in (10, 40))
    >>> params = teacher.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> plain = jmeta.transfer.distillation(student, optax.softmax_cross_entropy_with_integer_labels)
    >>> objective = jmeta.transfer.taught_by(plain, teacher, params)

    Args:
      objective: on ``Batch(x, Taught(labels, logits))``, such as :func:`jmeta.transfer.distillation`.
      teacher: ``x -> logits``, in one array or by name.
      params: its parameters.

    Returns:
      An objective on ``Batch(x, labels)``.

    Raises:
      ValueError: if the teacher is no model; from the objective, if rows do not match.
    """
    check_model("teacher", teacher)

    def init(student: Params, key: jax.Array) -> Params:
        del student, key
        return jax.tree.map(jnp.array, params)

    def loss(
        student: Params, key: jax.Array, batch: Batch, memory: Params, *, step: Any = 0
    ) -> tuple[jax.Array, tuple[Metrics, Params]]:
        check_rows("data", batch)
        batch = fill_batch(batch)
        logits = jax.lax.stop_gradient(teacher.apply(memory, batch.x, mask=batch.mask))
        value, metrics = objective(student, key, batch._replace(y=Taught(batch.y, logits)), step=step)
        return value, (metrics, memory)

    return ObjectiveWithMemory(init, loss)


# Kept, so that a teacher that is asked again runs the same compiled program.
@functools.lru_cache(maxsize=16)
def _of_floats(apply: Callable[..., Any]) -> Callable[..., Any]:
    def on_floats(params: Params, x: Any, *, mask: Mask = None) -> Any:
        return apply(params, as_floats(Batch(x, None)).x, mask=mask)

    return on_floats
