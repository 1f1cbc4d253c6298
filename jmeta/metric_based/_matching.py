"""Matching networks (Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, 2016, 1606.04080), section 2.1."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._options import check_model, check_positive
from jmeta._rows import fill
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta.metric_based._support import encode_support, init_encoder

# The logarithm of what a class without support is given, below every other and finite in float16.
NOTHING = -1e4


def matching_networks(
    encoder: Model, *, scale: float = 10.0, loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels
) -> Learner:
    r"""Classifies by attention over the support: by how much of it falls on each class.

    .. math:: p(k \mid x) = \sum_{i: y_i = k} a(x, x_i), \quad a(x, x_i) = \mathrm{softmax}_i(s \cos(f(x), f(x_i)))

    Predictions are the logarithms of p, whose softmax is p. A support row of weight 2 is two rows. The cosine of a vector of zeros
    with any other is 0.

    Differs from the paper, which has no scale s: between cosines of -1 and 1 the softmax of 5 examples cannot pass 0.65, and
    training stalls. The same network embeds support and query, without the context of the whole support.

    Args:
      encoder: ``x -> features [n, d]``.
      scale: s, of the cosines.
      loss_fn: of the outputs ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model or the scale not positive; from ``init``, if the encoder gives no vectors, a task's
        values are not sound, or a class has no support.
    """
    check_model("encoder", encoder)
    check_positive(scale=scale)

    def init(key: jax.Array, episode: Episode) -> Params:
        return init_encoder(encoder, key, episode)[0]

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        features, members = encode_support(encoder, params, key, support, classes, training=training)
        return {"features": _unit(features), "members": members}

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        features, members = adapted["features"], adapted["members"]
        similarities = scale * _unit(encoder.apply(params, fill(x, mask), key=key, mask=mask)) @ features.T
        supported = members.sum(axis=0)[None] > 0
        # Of a class without support the sum is that of all rows, which nobody sees.
        shares = jnp.where(supported, members, 1).astype(similarities.dtype)
        found = jax.nn.logsumexp(similarities[:, :, None], axis=1, b=shares[None])
        return jax.nn.log_softmax(jnp.where(supported, found, NOTHING))

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, encoder.normalization)


def _unit(vectors: jax.Array) -> jax.Array:
    """Gives vectors ``[n, d]`` the length 1; zeros stay, with a derivative of 0."""
    squared = jnp.square(vectors).sum(axis=-1, keepdims=True)
    return vectors * jnp.where(squared > 0, jax.lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)
