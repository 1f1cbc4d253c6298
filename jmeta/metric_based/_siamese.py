"""Siamese networks (Koch, Zemel and Salakhutdinov, 2015, ICML workshop), section 3; contrastive: Hadsell et al., 2006, CVPR."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._distances import squared_distances
from jmeta._options import check_model, check_positive
from jmeta._presence import with_presence
from jmeta._rows import fill, fill_batch, one_hot
from jmeta._scoring import query_loss, score
from jmeta._types import Adapted, Batch, Episode, Key, Learner, Mask, Metrics, Model, Params
from jmeta._validation import check_one_task
from jmeta.metric_based._support import encode_support, init_encoder

# Where a class has no support, below every similarity.
NOTHING = -1e9
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def siamese_networks(encoder: Model, *, margin: float | None = None) -> Learner:
    r"""Learns whether two examples are of one class, and classifies by the most similar example of the support.

    .. math:: p(\mathrm{same} \mid x, x') = \sigma\left(\sum_j a_j |f_j(x) - f_j(x')| + b\right)

    with learned a and b, trained by binary cross-entropy on all pairs of a query and a support example. With a ``margin`` m, by
    the contrastive loss of the Euclidean distance d instead: :math:`d^2` of equal pairs, :math:`\max(0, m - d)^2` of different
    ones. Either way equal pairs together count as much as different ones, as in the paper's sampling. Of a weight of the support it
    matters in predictions whether it is 0.

    Predictions ``[n, ways]`` are the argument of the sigmoid, or :math:`-d^2`, of the most similar example of each class; the
    metric ``loss`` is their cross-entropy, ``verification`` what training minimises. Differs from the paper in that pairs are those
    of an episode.

    Args:
      encoder: ``x -> features [n, d]``; the paper's ends in a sigmoid.
      margin: m, of the contrastive form; None for the weighted differences.

    Raises:
      ValueError: if the encoder is no model or the margin not positive; from ``init``, if the encoder gives no vectors, a task's
        values are not sound, or a class has no support.
    """
    check_model("encoder", encoder)
    if margin is not None:
        check_positive(margin=margin)

    def init(key: jax.Array, episode: Episode) -> Params:
        params, features = init_encoder(encoder, key, episode)
        if margin is not None:
            return {"encoder": params}
        width = features.shape[1]
        # Alike means near, from the start.
        return {"encoder": params, "scale": jnp.full(width, -1 / width, features.dtype), "shift": jnp.zeros((), features.dtype)}

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        features, members = encode_support(encoder, params["encoder"], key, support, classes, training=training)
        return {"features": features, "members": members}

    def similarities(params: Params, adapted: Adapted, x: Any, key: Key, mask: Mask) -> jax.Array:
        features = encoder.apply(params["encoder"], fill(x, mask), key=key, mask=mask)
        if margin is not None:
            return -squared_distances(features, adapted["features"])
        return jnp.abs(features[:, None] - adapted["features"][None]) @ params["scale"] + params["shift"]

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        return most_similar(adapted, similarities(params, adapted, x, key, mask))

    def most_similar(adapted: Adapted, found: jax.Array) -> jax.Array:
        return jnp.where(adapted["members"][None] > 0, found[:, :, None], NOTHING).max(axis=1)

    def verification(outputs: jax.Array, same: jax.Array) -> jax.Array:
        if margin is None:
            return optax.sigmoid_binary_cross_entropy(outputs, same)
        squared = jnp.maximum(-outputs, 0)
        # The distance of equal features has no derivative.
        distances = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
        return same * squared + (1 - same) * jnp.square(jnp.maximum(margin - distances, 0))

    tested = query_loss(adapt, predict, cross_entropy)

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        if not training:
            return tested(params, key, episode, step=step, training=False)
        check_one_task(episode)
        query, classes, (support_key, query_key) = fill_batch(episode.query), episode.classes, jax.random.split(key)
        adapted = adapt(params, support_key, episode.support, classes=classes, training=True)
        found = similarities(params, adapted, query.x, query_key, query.mask)
        asked, shown = one_hot(query, classes), adapted["members"]
        counts = asked.sum(axis=1)[:, None] * shown.sum(axis=1)[None]
        same = (asked > 0).astype(found.dtype) @ (shown > 0).astype(found.dtype).T
        sides = [counts * same, counts * (1 - same)]
        weights = sum(side / jnp.where(side.sum() > 0, side.sum(), 1) for side in sides)
        value = score(verification, found, Batch(query.x, same, weights=weights))
        judged = score(cross_entropy, most_similar(adapted, found), query, classes)
        return value, with_presence({"loss": judged, "verification": value}, query)

    return Learner(init, adapt, predict, loss, None, encoder.normalization)
