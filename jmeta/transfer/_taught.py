"""What a teacher says of examples, beside their labels: of a whole set once, or of each batch as it comes."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._options import check_model
from jmeta._rows import fill_batch
from jmeta._sentences import kinds
from jmeta._types import Batch, LossFn, Mask, Metrics, Model, Objective, ObjectiveWithMemory, Params
from jmeta._validation import check_rows
from jmeta.predictions import predict_batch
from jmeta.tasks._groups import as_floats


class Taught(NamedTuple):
    """Targets of examples that a teacher has seen.

    Attributes:
      labels: those of the task, leaves ``[n, ...]``; None where there are none.
      logits: what the teacher says, ``[n, ..., classes]``; by name where it has several heads.
    """

    labels: Any
    logits: Any


def teach(teacher: Model, params: Params, batch: Batch, *, batch_size: int = 256) -> Batch:
    """Asks a teacher once about every example of a set, so that its logits go into training as data beside the labels.

    What it says depends on no key: it is deterministic. ``jmeta.minibatches(taught.x, taught.y, size)`` draws from the result; where
    inputs change from step to step, see :func:`jmeta.transfer.taught_by`.

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


def check_taught(batch: Batch, *, labels: bool) -> Batch:
    """Gives a batch of taught examples with its masked rows filled.

    Raises:
      ValueError: if targets are not ``Taught``, rows do not match, or ``labels`` are wanted and there are none.
    """
    if not isinstance(batch.y, Taught):
        raise ValueError(f"y must be Taught(labels, logits), such as jmeta.transfer.teach gives; got {type(batch.y).__name__}.")
    if labels and batch.y.labels is None:
        raise ValueError("y.labels must hold the labels of the task, which are learnt too; got None.")
    check_rows("data", batch)
    return fill_batch(batch)


def check_alike(name: str, outputs: Any, logits: Any) -> None:
    """Checks that a teacher says what a student is to say.

    Raises:
      ValueError: if the student gives no logits of at least two classes, or the teacher others.
    """
    if getattr(outputs, "ndim", 0) < 2 or outputs.shape[-1] < 2:
        raise ValueError(f"{name} must give logits [n, ..., classes] of at least 2 classes to be taught; got {kinds(outputs)}.")
    if getattr(logits, "shape", None) != outputs.shape:
        raise ValueError(f"the teacher must give what {name} gives, {kinds(outputs)}; got {kinds(logits)}.")


def imitation(temperature: float) -> LossFn:
    r"""Makes the loss by which logits come near those of a teacher, :math:`\mathrm{KL}(p^T_\text{teacher} \,\|\, p^T)`."""

    def divergence(outputs: jax.Array, logits: jax.Array) -> jax.Array:
        softened = (jnp.asarray(part, jnp.promote_types(part.dtype, jnp.float32)) / temperature for part in (outputs, logits))
        student, teacher = map(jax.nn.log_softmax, softened)
        return optax.losses.kl_divergence_with_log_targets(student, jax.lax.stop_gradient(teacher))

    return divergence


# Kept, so that a teacher that is asked again runs the same compiled program.
@functools.lru_cache(maxsize=16)
def _of_floats(apply: Callable[..., Any]) -> Callable[..., Any]:
    def on_floats(params: Params, x: Any, *, mask: Mask = None) -> Any:
        return apply(params, as_floats(Batch(x, None)).x, mask=mask)

    return on_floats
