"""What learners share whose head is fitted to the support by a formula, on features of an encoder."""

from collections.abc import Callable
from typing import Any

import jax

from jmeta._composition import outputs_like
from jmeta._options import check_model
from jmeta._rows import fill, fill_batch, one_hot
from jmeta._scoring import query_loss
from jmeta._sentences import kinds
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta._validation import check_episode, check_support_of_classes


def head_on_features(
    encoder: Model,
    start: Callable[[], Any],
    fit: Callable[[Any, jax.Array, jax.Array], Adapted],
    judge: Callable[[Any, Adapted, jax.Array], jax.Array],
    loss_fn: LossFn,
) -> Learner:
    """Builds a learner that fits a head to the features of the support.

    Args:
      encoder: ``x -> features [n, d]``.
      start: the parameters of the head that are learnt.
      fit: ``(those, features [n, d], members [n, ways]) -> head``.
      judge: ``(those, head, features) -> logits [n, ways]``.
      loss_fn: of the logits and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model; from ``init``, if it gives no vectors, a task's values are not sound, or a class has
        no support.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        check_support_of_classes(episode)
        x = fill_batch(episode.support).x
        params = encoder.init(key, x)
        features = outputs_like(encoder.apply, params, x)
        if getattr(features, "ndim", None) != 2:
            raise ValueError(f"encoder must give one vector for each row, [n, d]; got {kinds(features)}.")
        return {"encoder": params, "head": jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, features.dtype), start())}

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        support, members = fill_batch(support), one_hot(support, classes)
        features = encoder.apply(params["encoder"], support.x, key=key if training else None, mask=support.mask)
        return fit(params["head"], features, members)

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        features = encoder.apply(params["encoder"], fill(x, mask), key=key, mask=mask)
        return judge(params["head"], adapted, features)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, encoder.normalization)
