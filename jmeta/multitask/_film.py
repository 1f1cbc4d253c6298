"""Task-conditioned FiLM: one encoder whose channels each task scales and shifts.

Feature-wise linear modulation (Perez, Strub, de Vries, Dumoulin and Courville, 2018, 1709.07871), section 2.1, with a scale and a
shift for each task in place of a network that makes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import check_channels, check_models, init_stages, keys_of
from jmeta._rows import trailing
from jmeta._types import EncoderHead, Key, Mask, Model
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


class Modulation(NamedTuple):
    """Attributes: ``scale`` and ``shift``, ``[channels]``, of what a stage gives; both begin at 0."""

    scale: jax.Array
    shift: jax.Array


def task_conditioned_film(stages: Sequence[Model], tasks: Mapping[str, Task]) -> MultitaskModel:
    r"""Shares an encoder that runs for each task with scales and shifts of its own after every stage.

    .. math:: \tilde x^{lc}_k = (1 + \gamma^{lc}_k) \, x^{lc}_k + \beta^{lc}_k

    for stage l and channel c (the last axis). It begins as hard parameter sharing; a task costs two numbers for each channel, and
    a pass of its own. The stages are shared, scales and shifts are own.

    Args:
      stages: of the encoder, ``[n, ..., channels] -> [n, ..., channels]``, one after another.
      tasks: by name, a head ``features -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks or stages, or a part is no model; from the functions, if a stage gives anything but one
        array with channels, or data has other names.
    """
    stages = check_models("stages", stages)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        shared, outputs = init_stages("stages", stages, key, next(iter(x.values())))
        check_channels(outputs, "to be modulated")
        none = [jnp.zeros(found.shape[-1:], found.dtype) for found in outputs]
        return EncoderHead(shared, {name: [Modulation(zeros, zeros) for zeros in none] for name in x})

    def features(params: EncoderHead, x: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name
        for stage, weights, own, stage_key in zip(stages, params.encoder, params.head, keys_of(key, len(stages)), strict=True):
            x = stage.apply(weights, x, key=stage_key, mask=mask)
            scale, shift = (trailing(part, x).astype(x.dtype) for part in own)
            x = x + (scale * x + shift)
        return x

    return multitask_model(Trunk(init, features), tasks)
