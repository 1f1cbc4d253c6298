"""Cross-stitch networks (Misra, Shrivastava, Gupta and Hebert, 2016, 1604.03539), section 3: towers that mix after every stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import check_models
from jmeta._options import check_share
from jmeta._types import EncoderHead, Key, Mask, Model
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model
from jmeta.multitask._towers import Stitched, init_towers, run_towers, weighted_sum


def cross_stitch_networks(stages: Sequence[Model], tasks: Mapping[str, Task], *, diagonal: float = 0.9) -> MultitaskModel:
    r"""Gives each task a tower of the same stages; after each stage every tower goes on with a mixture of all.

    .. math:: \tilde x_i^{lc} = \sum_j A_{ij}^{lc} \, x_j^{lc}

    with a number for each pair of tasks, stage l and channel c (the last axis). Units begin at ``diagonal`` for the task itself and
    share the rest equally. The authors take 0.9 and 0.1 for two tasks, 0.8 and 0.05 for five, pretrain each tower on its task
    alone, and let the units learn a hundred times faster than the weights::

        optax.partition({"units": optax.sgd(0.1), "weights": optax.sgd(1e-3)}, jmeta.multitask.unit_labels)

    Each input goes through all towers. Towers and units are shared, but for the row of the last unit that a task alone reads, which
    is its own.

    Args:
      stages: of each tower, ``[n, ..., channels] -> [n, ..., channels]``, one after another.
      tasks: by name, a head ``features -> outputs`` and a loss.
      diagonal: what a tower keeps of its own activations at first; all of them where there is one task.

    Raises:
      ValueError: if there are no tasks or stages, a part is no model, or ``diagonal`` is not between 0 and 1; from the functions,
        if a stage gives anything but one array with channels, inputs of tasks differ in shape, or data has other names.
    """
    stages = check_models("stages", stages)
    check_share(diagonal=diagonal)
    names = sorted(tasks)
    matrix = jnp.eye(len(names))
    if len(names) > 1:
        matrix = jnp.where(matrix > 0, diagonal, (1 - diagonal) / (len(names) - 1))

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        towers, outputs = init_towers(stages, key, x)
        units = [jnp.tile(matrix[..., None], (1, 1, like.shape[-1])).astype(like.dtype) for like in outputs]
        return EncoderHead(Stitched(towers, units[:-1]), {name: units[-1][at] for at, name in enumerate(names)})

    def encode(shared: Stitched, x: Any, *, key: Key = None, mask: Mask = None) -> dict[str, Any]:
        return run_towers(stages, shared, x, mix, key=key, mask=mask)[1]

    def mix(unit: jax.Array, streams: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: weighted_sum(unit[at], streams) for at, name in enumerate(names)}

    def features(params: EncoderHead, streams: dict[str, Any], name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name, key, mask
        return weighted_sum(params.head, streams)

    return multitask_model(Trunk(init, features, encode), tasks)
