"""What a trained unified learner makes of a task: its embedding, and its learning strategy, to look at."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._paths import path_of
from jmeta._types import Batch, EncoderHead, Mask, Params
from jmeta.unified._parts import MetaLearner, TaskEncoder
from jmeta.unified._rules import Rule


class Strategy(NamedTuple):
    """The learning strategy of one task.

    Attributes:
      initial: the weights that the task begins with, ``EncoderHead(encoder, head)``.
      step_sizes: of each tensor by its path, ``[steps, groups]`` before the gates, in parameter units per unit of gradient.
      attention: of each tensor by its path, what it takes of each experience, ``[groups, experiences]``.
    """

    initial: EncoderHead
    step_sizes: dict[str, jax.Array]
    attention: dict[str, jax.Array]


def task_embedding(task_encoder: TaskEncoder, params: Params, support: Batch, outputs: Any, *, classes: Mask = None) -> jax.Array:
    """Gives the embedding ``[d]`` of a task.

    Args:
      task_encoder: the one that the learner was built with.
      params: of a :func:`unified_learner`.
      support: the examples of the task.
      outputs: what its learner gives for ``support.x``, or zeros of these shapes.
      classes: ``[ways]``, the real classes.
    """
    part = EncoderHead(params.encoder["task_encoder"], params.head["task_encoder"])
    return task_encoder.embed(part, support, outputs, classes=classes)


def learning_strategy(meta_learner: MetaLearner, params: Params, embedding: jax.Array) -> Strategy:
    """Gives the learning strategy of a task.

    Args:
      meta_learner: the one that the learner was built with.
      params: of a :func:`unified_learner`.
      embedding: ``[d]`` from :func:`task_embedding`.
    """
    parts = [part["meta_learner"] for part in params]
    initial = EncoderHead(*(meta_learner.initial(part, embedding) for part in parts))
    rules = EncoderHead(*(meta_learner.rule(part, embedding) for part in parts))
    attention = EncoderHead(*(meta_learner.attention(part, embedding) for part in parts))
    sizes = {
        path_of(path): jnp.asarray(rule.rates)
        for path, rule in jax.tree_util.tree_leaves_with_path(rules, is_leaf=lambda node: isinstance(node, Rule))
    }
    shares = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(attention)}
    return Strategy(initial, sizes, shares)
