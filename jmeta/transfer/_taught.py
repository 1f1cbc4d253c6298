"""Targets of examples that a teacher has seen, and how one comes near to what it says."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._rows import fill_batch
from jmeta._sentences import kinds
from jmeta._types import Batch, LossFn
from jmeta._validation import check_rows


class Taught(NamedTuple):
    """Targets of examples that a teacher has seen.

    Attributes:
      labels: those of the task, leaves ``[n, ...]``; None where there are none.
      logits: what the teacher says, ``[n, ..., classes]``; by name where it has several heads.
    """

    labels: Any
    logits: Any


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
        both = map(jnp.asarray, (outputs, logits))
        wide = (part.astype(jnp.promote_types(part.dtype, jnp.float32)) for part in both)
        student, teacher = (jax.nn.log_softmax(part / temperature) for part in wide)
        return optax.losses.kl_divergence_with_log_targets(student, jax.lax.stop_gradient(teacher))

    return divergence
