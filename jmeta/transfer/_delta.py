"""DELTA: feature maps that stay near the pretrained ones, the more the more they matter (Li et al., 2019, 1901.09229), section 3.

The form is that of the Transfer-Learning-Library, which weighs the squares of a channel by :math:`C / (HW)` times its attention; it
adds up the rows of a batch, where here is their mean. Its attention is of filters set to zero, here it is of their activations.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import check_channels, check_models, run_stages, split_key
from jmeta._options import check_model, check_positive
from jmeta._presence import with_presence
from jmeta._rows import counts_of, fill_batch, mean_over_rows, trailing
from jmeta._scoring import score
from jmeta._types import Batch, EncoderHead, LossFn, Metrics, Model, ObjectiveWithMemory, Params
from jmeta._validation import check_rows


def delta(
    stages: Sequence[Model],
    head: Model,
    loss_fn: LossFn,
    pretrained: Sequence[Params],
    *,
    attention: Sequence[jax.Array] | None = None,
    strength: float = 0.01,
) -> ObjectiveWithMemory:
    r"""Fine-tunes a network whose feature maps stay near those of the pretrained one.

    .. math:: L + \lambda \sum_l \frac{C_l}{2 H_l W_l} \sum_c a_{lc} \lVert F_{lc}(w, x) - F_{lc}(w_0, x) \rVert^2

    The pretrained parameters are what the objective remembers; nothing changes them.

    Args:
      stages: the encoder, one model after another, each giving ``[n, ..., channels]``.
      head: ``features -> outputs``.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      pretrained: the parameters of the stages, :math:`w_0`.
      attention: for each stage what its channels count, ``[channels]``, such as :func:`channel_attention`; None counts all alike,
        :math:`1 / C`.
      strength: :math:`\lambda`.

    Returns:
      An objective of parameters ``EncoderHead([stage, ...], head)`` on batches. All real rows count for the distance, whatever the
      weights of their targets.

    Raises:
      ValueError: if a part is no model, or there is not one entry of ``pretrained`` and ``attention`` for each stage.
    """
    stages = check_models("stages", stages)
    check_model("head", head)
    for name, given in (("pretrained", pretrained), ("attention", attention)):
        if given is not None and len(given) != len(stages):
            raise ValueError(f"{name} must have one entry for each of {len(stages)} stages; got {len(given)}.")

    def init(params: Params, key: jax.Array) -> Any:
        del params, key
        return jax.tree.map(jnp.array, (list(pretrained), attention))

    def loss(
        params: EncoderHead, key: jax.Array, batch: Batch, memory: Any, *, step: Any = 0
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        del step
        check_rows("data", batch)
        batch, (start, weights) = fill_batch(batch), memory
        encode_key, head_key = split_key(key)
        features = run_stages(stages, params.encoder, batch.x, encode_key, batch.mask)
        constant = run_stages(stages, start, batch.x, None, batch.mask)
        check_channels(features, "to be compared with those of the pretrained network")
        outputs = head.apply(params.head, features[-1], key=head_key, mask=batch.mask)
        real = batch._replace(weights=None)
        apart = jnp.zeros(())
        for at, (now, before) in enumerate(zip(features, constant, strict=True)):
            share = jnp.full(now.shape[-1:], 1 / now.shape[-1]) if weights is None else weights[at]
            apart += mean_over_rows(_distances(now, jax.lax.stop_gradient(before), share), counts_of(real))
        value = score(loss_fn, outputs, batch)
        total = value + strength * apart
        return total, (with_presence({"loss": total, "task_loss": value, "distance": apart}, real), memory)

    return ObjectiveWithMemory(init, loss)


def channel_attention(
    stages: Sequence[Model], head: Model, loss_fn: LossFn, params: EncoderHead, batch: Batch, *, temperature: float = 5.0
) -> list[jax.Array]:
    r"""Measures how much each channel matters: how much the loss rises without it.

    .. math:: a_c = \mathrm{softmax}\left((\Delta_c - \mathrm{mean}) / (T \, \mathrm{std})\right)

    Args:
      stages: as for :func:`delta`.
      head: one that has been fitted to the target task on the pretrained stages.
      loss_fn: as for :func:`delta`.
      params: ``EncoderHead`` of the parameters.
      batch: examples of the target task. Compiling this under ``jax.jit`` saves time.
      temperature: :math:`T`.

    Returns:
      For each stage ``[channels]``, which add up to 1.

    Raises:
      ValueError: if a stage gives no channels, or the temperature is not positive.
    """
    stages = check_models("stages", stages)
    check_positive(temperature=temperature)
    batch = fill_batch(batch)
    features = run_stages(stages, params.encoder, batch.x, None, batch.mask)
    check_channels(features, "whose attention is asked for")

    def loss_behind(at: int, found: jax.Array) -> jax.Array:
        later = [found, *run_stages(stages[at + 1 :], params.encoder[at + 1 :], found, None, batch.mask)]
        return score(loss_fn, head.apply(params.head, later[-1], mask=batch.mask), batch)

    def rise(at: int, found: jax.Array) -> jax.Array:
        channels, whole = jnp.arange(found.shape[-1]), loss_behind(at, found)

        def without(channel: jax.Array) -> jax.Array:
            return loss_behind(at, found * trailing((channels != channel).astype(found.dtype), found)) - whole

        return jax.lax.map(without, channels)

    return [jax.nn.softmax(_standardized(rise(at, found)) / temperature) for at, found in enumerate(features)]


def _distances(now: jax.Array, before: jax.Array, attention: jax.Array) -> jax.Array:
    """Gives the weighed distance of each row, ``[n]``."""
    rows, channels = now.shape[0], now.shape[-1]
    squares = jnp.square(now - before).reshape(rows, -1, channels).mean(axis=1)
    return channels / 2 * (squares * attention.astype(squares.dtype)[None]).sum(axis=-1)


def _standardized(values: jax.Array) -> jax.Array:
    spread = values.std()
    return (values - values.mean()) / jnp.where(spread > 0, spread, 1)
