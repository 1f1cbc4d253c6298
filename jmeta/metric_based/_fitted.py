"""What learners share whose head is fitted to the support by a formula, on features of an encoder."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model
from jmeta._rows import fill
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta.metric_based._support import encode_support, init_encoder


def head_on_features(
    encoder: Model,
    start: Mapping[str, float],
    fit: Callable[[Any, jax.Array, jax.Array], Adapted],
    judge: Callable[[Any, Adapted, jax.Array], jax.Array],
    loss_fn: LossFn,
) -> Learner:
    """Builds a learner that fits a head to the features of the support.

    Args:
      encoder: ``x -> features [n, d]``.
      start: the numbers of the head that are learnt, as they begin.
      fit: ``(those, features [n, d], members [n, ways]) -> head``.
      judge: ``(those, head, features) -> logits [n, ways]``.
      loss_fn: of the logits and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model; from ``init``, if it gives no vectors, a task's values are not sound, or a class has
        no support.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, episode: Episode) -> Params:
        params, features = init_encoder(encoder, key, episode)
        return {"encoder": params, "head": jax.tree.map(lambda leaf: jnp.asarray(leaf, features.dtype), dict(start))}

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        return fit(params["head"], *encode_support(encoder, params["encoder"], key, support, classes, training=training))

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        features = encoder.apply(params["encoder"], fill(x, mask), key=key, mask=mask)
        return judge(params["head"], adapted, features)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, encoder.normalization)
