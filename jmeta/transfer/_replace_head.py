"""A new head on a pretrained encoder."""

import jax

from jmeta._composition import check_encoder_head, fitted, outputs_like
from jmeta._rows import fill
from jmeta._types import Batch, EncoderHead
from jmeta._validation import check_rows
from jmeta.transfer._labels import check_labels


def replace_head(model: EncoderHead, params: EncoderHead, key: jax.Array, batch: Batch) -> EncoderHead:
    """Puts a fresh head on a pretrained encoder.

    >>> import jax.numpy as jnp
    >>> from flax import linen
    >>> import jmeta
    >>> encoder, head = jmeta.from_linen(linen.Dense(8)), jmeta.from_linen(linen.Dense(3))
    >>> pretrained = EncoderHead(encoder.init(jax.random.key(0), jnp.ones((1, 2))), "ten classes")
    >>> batch = Batch(jnp.ones((4, 2)), jnp.arange(4) % 3)
    >>> replace_head(EncoderHead(encoder, head), pretrained, jax.random.key(1), batch).head["kernel"].shape
    (8, 3)

    Args:
      model: ``EncoderHead`` of the encoder and the new head, both models.
      params: ``EncoderHead`` of the pretrained parameters; those of its head do not matter.
      key: that the new head is made with.
      batch: examples of the new task.

    Returns:
      ``EncoderHead`` of the encoder's parameters, which are the same arrays, and new ones.

    Raises:
      ValueError: if one is no ``EncoderHead``, the head does not take the encoder's features, or, where values are known, a label
        is none of its outputs.
    """
    check_encoder_head(model)
    if not isinstance(params, EncoderHead):
        raise ValueError(f"params must be an EncoderHead(encoder, head) of parameters; got {type(params).__name__}.")
    check_rows("batch", batch)
    features = outputs_like(model.encoder.apply, params.encoder, fill(batch.x, batch.mask))
    head, outputs = fitted("head", "the encoder", model.head, key, features)
    check_labels("batch", batch, outputs)
    return EncoderHead(params.encoder, head)
