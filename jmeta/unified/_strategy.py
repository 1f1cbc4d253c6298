"""What a trained unified learner makes of a task: its embedding, and its learning strategy, to look at."""

from typing import Any, NamedTuple

import jax

from jmeta._paths import path_of
from jmeta._types import Batch, EncoderHead, Mask, Params
from jmeta.unified._groups import map_groups
from jmeta.unified._parts import MetaLearner, TaskEncoder, task_params


class Strategy(NamedTuple):
    """The learning strategy of one task.

    Attributes:
      initial: the weights that the task begins with, ``EncoderHead(encoder, head)``.
      step_sizes: of each tensor by its path, ``[steps, groups]`` before the gates, in parameter units per unit of gradient.
      attention: of each tensor by its path, what it takes of each experience, ``[groups, experiences]``;
        nothing where there is none.
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
    return task_encoder.embed(task_params(params), support, outputs, classes=classes)


def learning_strategy(meta_learner: MetaLearner, params: Params, embedding: jax.Array) -> Strategy:
    """Gives the learning strategy of a task.

    Args:
      meta_learner: the one that the learner was built with.
      params: of a :func:`unified_learner`.
      embedding: ``[d]`` from :func:`task_embedding`.
    """
    parts = [part["meta_learner"] for part in params]
    initial = EncoderHead(*(meta_learner.initial(part, embedding) for part in parts))
    attend = meta_learner.attention
    attention = {} if attend is None else _by_path(EncoderHead(*(attend(part, embedding) for part in parts)))
    rates = [meta_learner.rule(part, embedding).rates for part in parts]
    sizes = [
        map_groups(lambda _, rates: rates.T, weights, found.T, meta_learner.groups)
        for weights, found in zip(initial, rates, strict=True)
    ]
    return Strategy(initial, _by_path(EncoderHead(*sizes)), attention)


def _by_path(tree: Any) -> dict[str, jax.Array]:
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
