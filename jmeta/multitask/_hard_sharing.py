"""Hard parameter sharing (Caruana, 1997, *Multitask Learning*): one encoder, one head per task."""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._options import check_model
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model


def hard_parameter_sharing(encoder: Model, tasks: Mapping[str, Task]) -> MultitaskModel:
    """Shares one encoder between heterogeneous tasks, each with its own head, loss, batch size and output.

    The encoder is shared, nothing below a head is own.

    Args:
      encoder: ``x -> features``.
      tasks: by name, a head ``features -> outputs`` and a loss.

    Raises:
      ValueError: if there are no tasks, or a part is no model; from the functions, if data has other names.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        return EncoderHead(encoder.init(key, next(iter(x.values()))), dict.fromkeys(x, ()))

    def encode(shared: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return encoder.apply(shared, x, key=key, mask=mask)

    def features(params: EncoderHead, representation: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del params, name, key, mask
        return representation

    return multitask_model(Trunk(init, features, encode), tasks)
