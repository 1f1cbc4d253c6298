"""One encoder with several heads, as one model."""

from collections.abc import Mapping
from typing import Any

import jax

from jmeta._composition import fitted, keys_of, split_key
from jmeta._options import check_model
from jmeta._types import EncoderHead, Key, Mask, Model


def branch(encoder: Model, heads: Mapping[str, Model]) -> Model:
    """Branches a shared encoder into several heads, whose outputs stand by name; the parameters are an ``EncoderHead``.

    Adding a head to a trained network: those parameters that are there already are taken over by
    :func:`jmeta.transfer.copy_matching`.

    >>> import jax.numpy as jnp
    >>> from flax import linen
    >>> import jmeta
    >>> encoder, old, new = (jmeta.from_linen(linen.Dense(width)) for width in (4, 3, 2))
    >>> model = branch(encoder, {"letters": new, "digits": old})
    >>> params = model.init(jax.random.key(0), jnp.ones((5, 2)))
    >>> jax.tree.map(jnp.shape, model.apply(params, jnp.ones((5, 2))))
    {'digits': (5, 3), 'letters': (5, 2)}

    Args:
      encoder: ``x -> features``.
      heads: by name, ``features -> outputs``.

    Returns:
      A model of parameters ``EncoderHead(encoder, {name: head})``, as :func:`jmeta.on_head` takes them.

    Raises:
      ValueError: if there is no head, or a part is no model; from ``init``, if a head does not take the features.
    """
    if not heads:
        raise ValueError("heads must name at least one head; got an empty mapping.")
    check_model("encoder", encoder)
    for name, head in heads.items():
        check_model(f"heads[{name!r}]", head)
    names = sorted(heads)

    def init(key: jax.Array, x: Any) -> EncoderHead:
        encoder_key, *keys = jax.random.split(key, len(names) + 1)
        params, features = fitted("encoder", "the input", encoder, encoder_key, x)
        found = {
            name: fitted(f"heads[{name!r}]", "the encoder", heads[name], head_key, features)[0]
            for name, head_key in zip(names, keys, strict=True)
        }
        return EncoderHead(params, found)

    def apply(params: EncoderHead, x: Any, *, key: Key = None, mask: Mask = None) -> dict[str, Any]:
        encoder_key, heads_key = split_key(key)
        features = encoder.apply(params.encoder, x, key=encoder_key, mask=mask)
        return {
            name: heads[name].apply(params.head[name], features, key=head_key, mask=mask)
            for name, head_key in zip(names, keys_of(heads_key, len(names)), strict=True)
        }

    return Model(init, apply, encoder.normalization)
