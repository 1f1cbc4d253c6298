"""Learning without forgetting (Li and Hoiem, 2016, 1606.09282).

The strength and the temperature are those of the Transfer-Learning-Library. As in distillation, the imitation is a divergence,
which is less than the paper's cross-entropy by what has no gradient.
"""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._options import check_model, check_positive
from jmeta._presence import with_presence
from jmeta._scoring import score
from jmeta._types import Batch, LossFn, Metrics, Model, Objective, Params
from jmeta.transfer._taught import check_alike, check_taught, imitation


def learning_without_forgetting(
    model: Model, name: str, loss_fn: LossFn, *, temperature: float = 3.0, strength: float = 4.0
) -> Objective:
    r"""Learns a new task while the heads of old ones keep to what they said, on the examples of the new task alone.

    .. math:: L(h_\text{new}) + \lambda \sum_{\text{old}} \mathrm{KL}\left(p^T_\text{before} \,\|\, p^T_\text{old}\right)

    What the old heads said, before the first step, comes with the data::

        before = jmeta.transfer.teach(jmeta.transfer.branch(encoder, old_heads), old_params, batch)
        model = jmeta.transfer.branch(encoder, old_heads | {"birds": head})
        params, report = jmeta.transfer.copy_matching(old_params, model.init(key, batch.x))
        objective = jmeta.transfer.learning_without_forgetting(model, "birds", loss_fn)

    Args:
      model: ``x -> {name: outputs}``, those of old tasks logits ``[n, ..., classes]``; such as :func:`jmeta.transfer.branch`.
      name: of the new task.
      loss_fn: ``(outputs, targets) -> [n, ...]`` of the new task.
      temperature: :math:`T`.
      strength: :math:`\lambda`.

    Returns:
      An objective on ``Batch(x, Taught(labels, {name: logits}))`` of all old tasks. All real rows count for the imitation, whatever
      the weights of their labels.

    Raises:
      ValueError: if ``model`` is none, or ``temperature`` or ``strength`` not positive; from the objective, if the model has no
        head of that name or no other, targets are not taught by each old head, or an old head said something else.
    """
    check_model("model", model)
    check_positive(temperature=temperature, strength=strength)

    def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        batch = check_taught(batch, labels=True)
        labels, before = batch.y
        outputs, real = model.apply(params, batch.x, key=key, mask=batch.mask), batch._replace(weights=None)
        names = _old_heads(name, outputs, before)
        value = score(loss_fn, outputs[name], batch._replace(y=labels))
        total, metrics = value, {"task_loss": value}
        for old in names:
            check_alike(f"head {old!r}", outputs[old], before[old])
            imitated = score(imitation(temperature), outputs[old], real._replace(y=before[old]), name=f"the imitation of {old}")
            total, metrics = total + strength * imitated, metrics | {f"{old}/imitation": imitated}
        return total, with_presence({"loss": total} | metrics, real)

    return loss


def _old_heads(name: str, outputs: Any, before: Any) -> list[str]:
    if not isinstance(outputs, Mapping) or name not in outputs or len(outputs) == 1:
        got = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
        raise ValueError(f"model must give outputs by name, of {name!r} and of old tasks; got {got}.")
    old = sorted(set(outputs) - {name})
    if not isinstance(before, Mapping) or set(before) != set(old):
        got = sorted(before) if isinstance(before, Mapping) else type(before).__name__
        raise ValueError(f"y.logits must hold what each old head said, by name, {old}; got {got}.")
    return old
