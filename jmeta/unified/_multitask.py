"""Unified multi-task learning for a fixed set of heterogeneous tasks: networks that are made from what the tasks are.

Made of the parts of :func:`unified_learner`; attention between tasks is that of one head (Vaswani et al., 2017, 1706.03762).
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adjoints import Adjoint, unrolled
from jmeta._composition import outputs_like
from jmeta._options import check_counts, check_model
from jmeta._presence import mean_of_present
from jmeta._rows import fill
from jmeta._types import PRESENT, Batch, EncoderHead, Key, Mask, Metrics, Model, Objective, Params
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, by_task, multitask_model
from jmeta.unified._dense import dense_init
from jmeta.unified._embeddings import task_part, with_embedding
from jmeta.unified._further import Further, further_loss, weights_of
from jmeta.unified._parts import MetaLearner, TaskEncoder, check_vector


def unified_multitask(
    encoder: Model,
    tasks: Mapping[str, Task],
    task_encoder: TaskEncoder,
    meta_learner: MetaLearner,
    *,
    embedding: int = 16,
    between_tasks: bool = True,
    num_steps: int = 0,
    adjoint: Adjoint | None = None,
    reconstruction: float = 0.1,
    agreement: float = 0.1,
) -> MultitaskModel:
    r"""Makes each task an encoder of its own from a common bank, by attention from what the task is.

    .. math:: e_i' = e_i + \textstyle\sum_j \alpha_{ij} V e_j, \quad \theta_i = \mathrm{meta}(e_i') + \Delta_i

    Embeddings :math:`e_i` are parameters, and begin at what the task encoder says of the first data. What is added to a task's
    loss: how far its embedding is from what the task encoder says of the batch, how badly the batch's targets are reconstructed
    from it, and, with inner steps, the loss of every second row after steps of :math:`\theta_i` by its rule on the others. So
    predictions need parameters alone, and a task that was never seen has an embedding: :func:`add_task`.

    Shared are the bank, the task encoder and, where they attend to one another, the embeddings; own are :math:`\Delta_i`, which
    begins at 0, and what the task encoder needs of the targets. The two phases are two calls of ``fit``: the strategies with
    ``trainable(optimizer, lambda path: "change" not in path)``, then the learners with :func:`follow_strategies`.

    Args:
      encoder: the body of the task-specific learners.
      tasks: by name, a head ``features -> outputs`` and a loss.
      task_encoder: such as :func:`attention_task_encoder`.
      meta_learner: such as :func:`attention_meta_learner`.
      embedding: the size of the task encoder's vector.
      between_tasks: whether embeddings attend to one another; :func:`attention_between_tasks` shows it.
      num_steps: inner steps in training, which the update rules learn from; 0 leaves them as they are.
      adjoint: how to differentiate through them; ``unrolled()`` by default.
      reconstruction: what reconstructing targets counts; 0 leaves it out.
      agreement: what the squared distance of an embedding from the task encoder's counts; 0 leaves it out.

    Raises:
      ValueError: if there are no tasks or a part is no model; from the functions, if data has other names; from ``init``, if the
        task encoder gives no vector of that size.
    """
    check_model("encoder", encoder)
    check_counts(0, num_steps=num_steps)
    check_counts(embedding=embedding)
    further = Further(encoder, tasks, task_encoder, meta_learner, num_steps, adjoint or unrolled(), reconstruction, agreement)

    def init_trunk(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        meta_key, *keys = jax.random.split(key, len(x) + 3)
        first, zeros = next(iter(x.values())), jnp.zeros(embedding)
        strategies = meta_learner.init(meta_key, lambda key: encoder.init(key, first), zeros, num_steps)
        change = jax.tree.map(jnp.zeros_like, meta_learner.initial(strategies, zeros))
        shared: dict[str, Any] = {"meta_learner": strategies}
        if between_tasks:
            to_keys, values = (dense_init(key, embedding, embedding) for key in keys[-2:])
            shared |= {"between": {"keys": to_keys["kernel"], "values": values}, "embeddings": dict.fromkeys(x, zeros)}
            return EncoderHead(shared, {name: {"change": change} for name in x})
        return EncoderHead(shared, {name: {"change": change, "embedding": zeros} for name in x})

    def features(params: EncoderHead, x: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        return encoder.apply(weights_of(meta_learner, *params, name), x, key=key, mask=mask)

    model = multitask_model(Trunk(init_trunk, features), tasks)

    def outputs_for(params: Params, name: str, batch: Batch, key: Key = None) -> Any:
        predict = functools.partial(model.predict, key=key, mask=batch.mask)
        return outputs_like(lambda params, x: predict(params, name, x), params, fill(batch.x, batch.mask))

    def init(key: jax.Array, data: Batch | Mapping[str, Batch]) -> Params:
        model_key, task_key = jax.random.split(key)
        params = model.init(model_key, data)
        parts, given = {}, by_task(model.names, data)
        for name, batch in given.items():
            # One key: what the tasks have in common is the same, whichever of them it is taken from.
            parts[name] = task_encoder.init(task_key, batch, outputs_for(params, name, batch))
        shared = params.encoder | {"task_encoder": parts[model.names[0]].encoder}
        heads = {
            name: head._replace(encoder=head.encoder | {"task_encoder": parts[name].head}) for name, head in params.head.items()
        }
        params = EncoderHead(shared, heads)
        for name, batch in given.items():
            found = task_encoder.embed(task_part(params, name), batch, outputs_for(params, name, batch))
            check_vector(found, embedding)
            params = with_embedding(params, name, found)
        return params

    def added(params: Params, key: jax.Array, name: str, batch: Batch) -> tuple[jax.Array, Metrics]:
        return further_loss(further, params, key, name, batch, outputs_for(params, name, batch, key))

    def objective(name: str) -> Objective:
        def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
            loss_key, added_key = jax.random.split(key)
            value, metrics = model.objectives[name](params, loss_key, batch, step=step)
            more, found = added(params, added_key, name, batch)
            return value + more, metrics | found | {"prediction": value, "loss": value + more}

        return loss

    def joint_losses(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        loss_key, *keys = jax.random.split(key, len(model.names) + 1)
        losses, metrics = model.joint_losses(params, loss_key, batch, step=step)
        given = by_task(model.names, batch)
        parts = {name: added(params, one, name, given[name]) for name, one in zip(model.names, keys, strict=True)}
        found = {f"{name}/{metric}": value for name, (_, values) in parts.items() for metric, value in values.items()}
        found |= {f"{name}/prediction": value for name, value in zip(model.names, losses, strict=True)}
        losses = losses + jnp.stack([parts[name][0] for name in model.names])
        present = metrics.get(PRESENT, jnp.ones(losses.shape, bool))
        for name, value, there in zip(model.names, losses, present, strict=True):
            found[f"{name}/loss"] = jnp.where(there, value, jnp.nan)
        return losses, metrics | found | {"loss": mean_of_present(losses, present)}

    return MultitaskModel(init, model.predict, {name: objective(name) for name in model.names}, joint_losses, model.names)
