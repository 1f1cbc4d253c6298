"""When the strategies of a fixed set of tasks are known: learners that follow them, and a task that is new."""

from typing import Any

import jax
import optax

from jmeta._composition import outputs_like
from jmeta._rows import fill
from jmeta._types import Batch, EncoderHead, Params
from jmeta.multitask._multitask import MultitaskModel
from jmeta.unified._embeddings import attended, task_part, with_embedding
from jmeta.unified._groups import map_groups, spread
from jmeta.unified._parts import MetaLearner, TaskEncoder


def follow_strategies(optimizer: optax.GradientTransformation, meta_learner: MetaLearner) -> optax.GradientTransformationExtraArgs:
    r"""Lets the learners of a fixed set of tasks step as far as their strategies say, relative to :math:`s_0`.

    What is added to a task's encoder, :math:`\Delta_i`, takes the optimiser's step times :math:`\exp(r_{gT}(e_i))`; everything else
    takes the optimiser's step. Put :func:`jmeta.trainable` inside: ``follow_strategies(trainable(...), meta_learner)``.

    Args:
      optimizer: of the parameters of :func:`unified_multitask`.
      meta_learner: the one that the model was built with.

    Raises:
      ValueError: from ``update``, if it is not given the parameters.
    """
    inner = optax.with_extra_args_support(optimizer)

    def scaled(step: jax.Array, factors: jax.Array) -> jax.Array:
        return step * spread(factors, step)

    def update(updates: Params, state: Any, params: Params | None = None, **given: Any) -> tuple[Params, Any]:
        if params is None:
            raise ValueError("params must be given to follow_strategies(...).update; got None.")
        updates, state = inner.update(updates, state, params, **given)
        heads = {}
        for name, head in updates.head.items():
            rule = meta_learner.rule(params.encoder["meta_learner"], attended(params.encoder, params.head[name].encoder, name))
            factors = rule.rates[-1] / meta_learner.inner_rate
            change = map_groups(scaled, head.encoder["change"], factors, meta_learner.groups)
            heads[name] = head._replace(encoder=head.encoder | {"change": change})
        return EncoderHead(updates.encoder, heads), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def add_task(model: MultitaskModel, params: Params, key: jax.Array, name: str, batch: Batch, task_encoder: TaskEncoder) -> Params:
    """Takes a task into a trained set: a head that begins afresh, and the embedding that the task encoder has for its examples.

    Args:
      model: a ``unified_multitask`` of the old tasks and the new one.
      params: of the old tasks.
      key: what the new head begins with.
      name: of the new task.
      batch: its examples, any number.
      task_encoder: the one that the model was built with.

    Raises:
      ValueError: if the model does not know the task, or the parameters know it already.
    """
    if name not in model.names or name in params.head:
        raise ValueError(f"name must be a task of {[*model.names]} and none of {sorted(params.head)}; got {name!r}.")
    fresh = model.init(key, dict.fromkeys(model.names, batch))
    found = EncoderHead(params.encoder, params.head | {name: fresh.head[name]})
    outputs = outputs_like(lambda params, x: model.predict(params, name, x), fresh, fill(batch.x, batch.mask))
    return with_embedding(found, name, task_encoder.embed(task_part(found, name), batch, outputs))
