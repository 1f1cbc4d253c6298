"""Independent networks: nothing is shared. The baseline of every comparison of ways of sharing."""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._options import check_model
from jmeta._types import EncoderHead, Key, Mask, Model
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


def independent_networks(encoder: Model, tasks: Mapping[str, Task]) -> MultitaskModel:
    """Gives each task a network of its own, and nothing in common.

    Tied by a penalty (:func:`jmeta.multitask.soft_parameter_sharing`) the networks share softly.

    Args:
      encoder: ``x -> features``; each network is one with parameters of its own.
      tasks: by name, a head ``features -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks, or a part is no model; from the functions, if data has other names.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        keys = jax.random.split(key, len(x))
        return EncoderHead((), {name: encoder.init(part, x[name]) for name, part in zip(x, keys, strict=True)})

    def features(params: EncoderHead, x: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del name
        return encoder.apply(params.head, x, key=key, mask=mask)

    return multitask_model(Trunk(init, features), tasks)
