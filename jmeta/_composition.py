"""Models that are made of parts: an encoder and a head, or stages one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model
from jmeta._sentences import first_line, kinds
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

    Args:
      stages: one after another.

    Raises:
      ValueError: if there is no stage, or one is no model; from ``init``, if one does not take what comes before it.
    """
    stages = check_models("stages", stages)

    def init(key: jax.Array, x: Any) -> Params:
        return init_stages("stages", stages, key, x)[0]

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return run_stages(stages, params, x, key, mask)[-1]

    kinds_of = {stage.normalization for stage in stages} - {"none"}
    return Model(init, apply, " and ".join(sorted(kinds_of)) or "none")


def init_stages(name: str, stages: Sequence[Model], key: jax.Array, x: Any) -> tuple[list[Params], list[Any]]:
    """Makes the parameters of stages one after another, and zeros of the shapes of what each gives."""
    params, outputs = [], []
    for at, (stage, stage_key) in enumerate(zip(stages, jax.random.split(key, len(stages)), strict=True)):
        found, x = fitted(f"{name}[{at}]", f"{name}[{at - 1}]" if at else "the input", stage, stage_key, x)
        params.append(found)
        outputs.append(x)
    return params, outputs


def run_stages(stages: Sequence[Model], params: Sequence[Params], x: Any, key: Key, mask: Mask) -> list[Any]:
    """Gives what each of the stages gives, one after another."""
    outputs = []
    for stage, weights, stage_key in zip(stages, params, keys_of(key, len(stages)), strict=True):
        x = stage.apply(weights, x, key=stage_key, mask=mask)
        outputs.append(x)
    return outputs


def fitted(name: str, before: str, model: Model, key: jax.Array, x: Any) -> tuple[Params, Any]:
    """Makes the parameters of a model, and zeros of the shapes of its outputs.

    Raises:
      ValueError: if it does not take what comes before it.
    """
    try:
        params = model.init(key, x)
        return params, outputs_like(model.apply, params, x)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must take what {before} gives, {kinds(x)}; got an error: {first_line(error)}") from error


def check_channels(outputs: Sequence[Any], purpose: str) -> None:
    """Checks what stages give.

    Raises:
      ValueError: if one gives anything but one array with channels on its last axis, saying what they are wanted for.
    """
    for at, found in enumerate(outputs):
        if not hasattr(found, "ndim") or found.ndim < 2:
            raise ValueError(f"stages[{at}] must give one array [n, ..., channels], {purpose}; got {kinds(found)}.")


def check_models(name: str, models: Any) -> tuple[Model, ...]:
    """Checks that there are models, in a sequence.

    Raises:
      ValueError: if there are none, or it is one model, or one of them is none.
    """
    if isinstance(models, Model) or not isinstance(models, Sequence):
        raise ValueError(f"{name} must be a sequence of Models; got {type(models).__name__}.")
    if not models:
        raise ValueError(f"{name} must hold at least one Model; got an empty sequence.")
    for at, model in enumerate(models):
        check_model(f"{name}[{at}]", model)
    return tuple(models)


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


def keys_of(key: Key, count: int) -> Sequence[Key]:
    """Splits a key, where there is one."""
    return [None] * count if key is None else list(jax.random.split(key, count))
