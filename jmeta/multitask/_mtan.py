"""Multi-task attention network, MTAN (Liu, Johns and Davison, 2019, 1803.10704), section 3.1: masks on the stages of an encoder."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import check_models, init_stages, run_stages
from jmeta._options import check_counts
from jmeta._sentences import shapes
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.models import from_linen
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


class Attention(NamedTuple):
    """Parameters of one attention module: of the ``mask``, and of what becomes of the masked features, ``onward``."""

    mask: Params
    onward: Params


def multi_task_attention_network(stages: Sequence[Model], tasks: Mapping[str, Task], *, width: int = 16) -> MultitaskModel:
    r"""Shares an encoder, of whose stages each task selects features by soft attention masks (MTAN).

    .. math:: a^l_k = \sigma(g^l_k([p^l; f^{l-1}_k])), \qquad f^l_k = h^l_k(a^l_k \odot p^l)

    of what stage l gives, :math:`p^l`, and what the task has selected below, brought to its size; g is two layers of 1x1
    convolutions and h one of 3x3. The features of a task are its last f. The stages are shared, and run once for tasks that share
    their input; attention is own.

    Differs from the authors' code: stages of one's own stand in for half-stages of SegNet, so a mask sees :math:`p^l` itself and
    not the features before it; there is no batch normalisation; h is a task's own, where theirs is shared between tasks.

    Args:
      stages: of the encoder, ``[n, ..., channels] -> [n, ..., channels]`` with up to three axes between, one after another.
      tasks: by name, a head ``features -> outputs`` and a loss.
      width: channels within g.

    Raises:
      ValueError: if there are no tasks or stages, a part is no model, or ``width`` is below 1; from the functions, if a stage gives
        anything but one array with channels, or of another rank than the one below, or data has other names.
    """
    stages = check_models("stages", stages)
    check_counts(width=width)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        shared_key, *keys = jax.random.split(key, len(x) + 1)
        shared, outputs = init_stages("stages", stages, shared_key, next(iter(x.values())))
        for at, found in enumerate(outputs):
            if not hasattr(found, "ndim") or not 2 <= found.ndim <= 5 or found.ndim != outputs[0].ndim:
                expected = "must give one array [n, ..., channels] of two to five axes, as many as the stage below"
                raise ValueError(f"stages[{at}] {expected}; got {shapes(found)}.")

        def own(key: jax.Array) -> list[Attention]:
            parts, below = [], None
            for found, part in zip(outputs, jax.random.split(key, len(outputs)), strict=True):
                mask_key, onward_key = jax.random.split(part)
                mask, onward = _modules(found, width)
                parts.append(Attention(mask.init(mask_key, _beside(found, below)), onward.init(onward_key, found)))
                below = found
            return parts

        return EncoderHead(shared, {name: own(part) for name, part in zip(x, keys, strict=True)})

    def encode(shared: Params, x: Any, *, key: Key = None, mask: Mask = None) -> list[Any]:
        return run_stages(stages, shared, x, key, mask)

    def features(params: EncoderHead, given: list[Any], name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name, key, mask
        below = None
        for found, part in zip(given, params.head, strict=True):
            attention, onward = _modules(found, width)
            below = onward.apply(part.onward, attention.apply(part.mask, _beside(found, below)) * found)
        return below

    return multitask_model(Trunk(init, features, encode), tasks)


def _modules(found: jax.Array, width: int) -> tuple[Model, Model]:
    """Makes g and h for features of a stage."""
    from flax import linen

    # XLA's own convolution is 60 times slower within the loop of a training, on the CPU.
    from jmeta.nn._convolution import Conv

    channels, spatial = found.shape[-1], found.ndim - 2
    dense = functools.partial(linen.Dense, param_dtype=found.dtype)
    mask = linen.Sequential([dense(width), linen.relu, dense(channels), linen.sigmoid])
    onward = Conv(channels, (3,) * spatial, param_dtype=found.dtype) if spatial else dense(channels)
    return from_linen(mask), from_linen(linen.Sequential([onward, linen.relu]))


def _beside(found: jax.Array, below: jax.Array | None) -> jax.Array:
    """Puts what was selected below, averaged down or repeated up to the size of a stage, beside what the stage gives."""
    if below is None:
        return found
    for axis in range(1, found.ndim - 1):
        size, wanted = below.shape[axis], found.shape[axis]
        if size > wanted and size % wanted == 0:
            below = below.reshape(*below.shape[:axis], wanted, size // wanted, *below.shape[axis + 1 :]).mean(axis=axis + 1)
        elif size != wanted:
            # Nearest neighbours, for sizes that do not divide as well.
            below = jnp.take(below, (2 * jnp.arange(wanted) + 1) * size // (2 * wanted), axis=axis)
    return jnp.concatenate([found, below.astype(found.dtype)], axis=-1)
