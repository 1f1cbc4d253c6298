"""What is added to the losses of a fixed set of tasks, so that their embeddings and strategies are learnt."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._adaptation import gradient_descent
from jmeta._adjoints import Adjoint
from jmeta._rows import count_rows, counts_of, fill_batch, presence
from jmeta._scoring import score
from jmeta._types import Batch, Metrics, Model, Params
from jmeta.multitask._multitask import Task
from jmeta.unified._embeddings import attended, embedding_of, task_part
from jmeta.unified._parts import MetaLearner, TaskEncoder


class Further(NamedTuple):
    """What the added losses are made of; attributes are the arguments of ``unified_multitask``."""

    encoder: Model
    tasks: Mapping[str, Task]
    task_encoder: TaskEncoder
    meta_learner: MetaLearner
    num_steps: int
    adjoint: Adjoint
    reconstruction: float
    agreement: float


def further_loss(
    further: Further, params: Params, key: jax.Array, name: str, batch: Batch, outputs: Any
) -> tuple[jax.Array, Metrics]:
    """Gives what is added to the loss of a task, and its parts."""
    task, known, present = task_part(params, name), embedding_of(params, name), presence(batch)
    away = jnp.square(known - further.task_encoder.embed(task, batch, outputs)).mean()
    metrics = {"agreement": away if present is None else jnp.where(present, away, 0)}
    value = further.agreement * metrics["agreement"]
    if further.task_encoder.reconstruct is not None and further.reconstruction:
        rebuilt, targets = further.task_encoder.reconstruct(task, known, batch, outputs)
        metrics["reconstruction"] = score(further.tasks[name].loss_fn, rebuilt, targets)
        value = value + further.reconstruction * metrics["reconstruction"]
    if further.num_steps:
        metrics["after_steps"] = _after_steps(further, params, key, name, batch)
        value = value + metrics["after_steps"]
    return value, metrics


def weights_of(meta_learner: MetaLearner, shared: Params, own: Params, name: str) -> Params:
    """Gives the weights of a task's encoder: those that its strategy begins with, and what it has added."""
    made = meta_learner.initial(shared["meta_learner"], attended(shared, own, name))
    return jax.tree.map(jnp.add, made, own["change"])


def _after_steps(further: Further, params: Params, key: jax.Array, name: str, batch: Batch) -> jax.Array:
    """Scores every second row that counts after steps of the encoder's weights, by the task's rule, on the others."""
    batch = jax.tree.map(jnp.asarray, batch)
    counts = counts_of(batch)
    real = jnp.ones(count_rows(batch.x), bool) if counts is None else (counts != 0).reshape(len(counts), -1).any(axis=1)
    turn = jnp.cumsum(real) % 2
    support, query = (batch._replace(mask=real & (turn == side)) for side in (1, 0))
    head, own, task = params.head[name].head, params.head[name].encoder, further.tasks[name]

    def loss(weights: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        encode_key, head_key = jax.random.split(key)
        batch = fill_batch(batch)
        features = further.encoder.apply(weights, batch.x, key=encode_key, mask=batch.mask)
        return score(task.loss_fn, task.head.apply(head, features, key=head_key, mask=batch.mask), batch), {}

    rule = further.meta_learner.rule(params.encoder["meta_learner"], attended(params.encoder, own, name))
    descent = gradient_descent(loss, further.meta_learner.descent, further.num_steps, adjoint=further.adjoint)
    steps_key, query_key = jax.random.split(key)
    initial = weights_of(further.meta_learner, params.encoder, own, name)
    return loss(descent.run(initial, steps_key, support, rule), query_key, query)[0]
