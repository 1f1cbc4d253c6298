"""Models that are made of parts: an encoder and a head."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._types import EncoderHead, Key, Mask, Model, Params


def compose(encoder: Model, head: Model) -> Model:
    """Chains a shared encoder and a task head; the parameters are an ``EncoderHead``.

    Raises:
      ValueError: if a part is no model.
    """
    check_model("encoder", encoder)
    check_model("head", head)

    def init(key: jax.Array, x: Any) -> Params:
        encoder_key, head_key = jax.random.split(key)
        params = encoder.init(encoder_key, x)
        return EncoderHead(params, head.init(head_key, outputs_like(encoder.apply, params, x)))

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        encoder_key, head_key = split_key(key)
        features = encoder.apply(params.encoder, x, key=encoder_key, mask=mask)
        return head.apply(params.head, features, key=head_key, mask=mask)

    return Model(init, apply, encoder.normalization)


def chain(stages: Sequence[Model]) -> Model:
    """Chains models, each of which takes what the one before gives; the parameters are a list.

    So one sequence of stages serves ways of sharing that look into an encoder (cross-stitch networks) and those that do not.

    Raises:
      ValueError: if there is no stage, or one is no model.
    """
    if not stages:
        raise ValueError("stages must hold at least one Model; got none.")
    for at, stage in enumerate(stages):
        check_model(f"stages[{at}]", stage)

    def init(key: jax.Array, x: Any) -> Params:
        params = []
        for stage, stage_key in zip(stages, jax.random.split(key, len(stages)), strict=True):
            params.append(stage.init(stage_key, x))
            x = outputs_like(stage.apply, params[-1], x)
        return params

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        keys = [None] * len(stages) if key is None else jax.random.split(key, len(stages))
        for stage, part, stage_key in zip(stages, params, keys, strict=True):
            x = stage.apply(part, x, key=stage_key, mask=mask)
        return x

    kinds = {stage.normalization for stage in stages} - {"none"}
    return Model(init, apply, " and ".join(sorted(kinds)) or "none")


def check_model(name: str, model: Any) -> None:
    """Checks that a model is one, and not a module of a library.

    Raises:
      ValueError: if it is not.
    """
    if not isinstance(model, Model):
        raise ValueError(
            f"{name} must be a Model; got {type(model).__name__}: make one by from_linen, from_nnx, from_equinox or from_functions."
        )


def check_encoder_head(model: Any) -> None:
    """Checks that a model has two parts, each a model.

    Raises:
      ValueError: if it has not.
    """
    if not isinstance(model, EncoderHead):
        raise ValueError(f"model must be an EncoderHead(encoder, head) of two models; got {type(model).__name__}.")
    check_model("model.encoder", model.encoder)
    check_model("model.head", model.head)


def outputs_like(apply: Callable[..., Any], params: Params, x: Any) -> Any:
    """Makes zeros of the shapes of a model's outputs; nothing is computed."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(apply, params, x))


def split_key(key: Key) -> tuple[Key, Key]:
    """Gives each of two parts a key of its own, where there is one."""
    if key is None:
        return None, None
    first, second = jax.random.split(key)
    return first, second
