"""The exchangeable parts of unified multi-task learning, and what is asked of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from jmeta._rows import counts_of
from jmeta._types import Batch, EncoderHead, Mask, Params
from jmeta.unified._groups import Groups


class TaskEncoder(NamedTuple):
    """From a task's examples to its embedding, and back.

    What several kinds of task have in common are parameters ``shared``, what their targets and outputs need ``own``.

    Attributes:
      init: ``(key, batch, outputs) -> EncoderHead(shared, own)``; ``outputs`` are what a learner makes of ``batch.x``.
      embed: ``(params, batch, outputs, *, classes=None) -> [d]``, whatever the order of rows and whatever is in masked ones.
      reconstruct: ``(params, embedding [d], batch, outputs) -> (outputs, batch)``, what is made of inputs and the embedding, and
        the batch that holds its targets; None where nothing is reconstructed.
      empty: whether a task without examples has an embedding that means something.
    """

    init: Callable[[jax.Array, Batch, Any], EncoderHead]
    embed: Callable[..., jax.Array]
    reconstruct: Callable[..., tuple[Any, Batch]] | None = None
    empty: bool = False


class MetaLearner(NamedTuple):
    """From the embedding of a task to its learning strategy.

    Attributes:
      init: ``(key, make, embedding [d], num_steps) -> params``; ``make(key)`` gives the weights of one learner.
      initial: ``(params, embedding [d]) -> weights``.
      rule: ``(params, embedding [d]) -> rule``, what the steps are taken by.
      descent: ``rule -> optax transformation``.
      inner_rate: the step size that rules begin at.
      groups: what of the weights has a step size of its own.
      attention: ``(params, embedding [d]) -> [experiences]`` for each group of each tensor, ``[groups, experiences]``; None where
        nothing is attended to.
    """

    init: Callable[..., Params]
    initial: Callable[[Params, jax.Array], Params]
    rule: Callable[[Params, jax.Array], Any]
    descent: Callable[[Any], optax.GradientTransformation]
    inner_rate: float
    groups: Groups
    attention: Callable[[Params, jax.Array], Any] | None = None


def task_params(params: EncoderHead) -> EncoderHead:
    """Gives the task encoder's part of the parameters of a unified learner, shared and own."""
    return EncoderHead(*(part["task_encoder"] for part in params))


def check_vector(vector: Any, size: int | None = None) -> None:
    """Checks what a task encoder gives.

    Raises:
      ValueError: if it is no vector, or not of that size.
    """
    shape = getattr(vector, "shape", None)
    if shape is None or len(shape) != 1 or (size is not None and shape != (size,)):
        raise ValueError(f"task_encoder must give a vector [{size or 'd'}]; got {jax.tree.map(jnp.shape, vector)}.")


def check_support(task_encoder: TaskEncoder, support: Batch, classes: Mask) -> None:
    """Checks, where values are known, that there is something to embed.

    Raises:
      ValueError: if there is nothing, and the task encoder does not know what to make of that.
    """
    if task_encoder.empty:
        return
    counts = counts_of(support, classes)
    if counts is not None and not isinstance(counts, Tracer) and not (counts != 0).any():
        raise ValueError("support must hold an example to be embedded; got none: pass empty=True to the task encoder to allow it.")
