"""Knowledge distillation (Hinton, Vinyals and Dean, 2015, 1503.02531).

The second term is a divergence, which is 0 where the student says what the teacher says; the paper's cross-entropy is larger by the
teacher's entropy, which has no gradient.
"""

from typing import Any

import jax

from jmeta._options import check_model, check_positive, check_share
from jmeta._presence import with_presence
from jmeta._scoring import score
from jmeta._types import Batch, LossFn, Metrics, Model, Objective, Params
from jmeta.transfer._taught import check_alike, check_taught, imitation


def distillation(student: Model, loss_fn: LossFn, *, temperature: float = 4.0, share: float = 0.9) -> Objective:
    r"""Trains a network on what another says of the examples, softened, beside their labels.

    .. math:: (1 - \alpha) \, L + \alpha \, T^2 \, \mathrm{KL}\left(\mathrm{softmax}(t / T) \,\|\, \mathrm{softmax}(s / T)\right)

    :math:`T^2` keeps the gradient of the second term about as large at any temperature. The teacher's logits :math:`t` are data:
    those of a set are asked for once by :func:`jmeta.transfer.teach`, those of changing inputs come by
    :func:`jmeta.transfer.taught_by`; either way the teacher gets no gradient.

    >>> import jax.numpy as jnp
    >>> import optax
    >>> import jmeta
    >>> from jmeta.nn import MultilayerPerceptron
    >>> student, teacher = (jmeta.from_linen(MultilayerPerceptron((width, 3))) for width in (10, 40))
    >>> batch = Batch(jnp.ones((5, 2)), jnp.zeros(5, int))
    >>> taught = jmeta.transfer.teach(teacher, teacher.init(jax.random.key(0), batch.x), batch)
    >>> objective = distillation(student, optax.softmax_cross_entropy_with_integer_labels)
    >>> value, metrics = objective(student.init(jax.random.key(1), batch.x), jax.random.key(2), taught)
    >>> sorted(metrics)
    ['imitation', 'loss', 'task_loss']

    Args:
      student: ``x -> logits [n, ..., classes]``; it is in training mode.
      loss_fn: ``(outputs, targets) -> [n, ...]`` of the labels.
      temperature: :math:`T`.
      share: :math:`\alpha`; at 1 there need not be labels.

    Returns:
      An objective of the student's parameters on ``Batch(x, Taught(labels, logits))``. All real rows count for the imitation,
      whatever the weights of their labels.

    Raises:
      ValueError: if ``student`` is no model, ``temperature`` not positive or ``share`` not from 0 to 1; from the objective, if
        targets are not taught, labels are missing, or the teacher gave other outputs than the student.
    """
    check_model("student", student)
    check_positive(temperature=temperature)
    check_share(share=share)

    def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        batch = check_taught(batch, labels=share < 1)
        labels, logits = batch.y
        outputs, real = student.apply(params, batch.x, key=key, mask=batch.mask), batch._replace(weights=None)
        check_alike("student", outputs, logits)
        imitated = temperature**2 * score(imitation(temperature), outputs, real._replace(y=logits), name="the imitation")
        total, metrics = share * imitated, {"imitation": imitated}
        if share < 1:
            value = score(loss_fn, outputs, batch._replace(y=labels))
            total, metrics = total + (1 - share) * value, metrics | {"task_loss": value}
        return total, with_presence({"loss": total} | metrics, real)

    return loss
