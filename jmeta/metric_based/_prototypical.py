"""Prototypical networks (Snell, Swersky and Zemel, 2017, 1703.05175), equations 1 and 2."""

import jax
import jax.numpy as jnp
import optax

from jmeta._objectives import query_loss
from jmeta._types import Adapted, Batch, Episode, Learner, LossFn, Model, Params
from jmeta._validation import check_episode


def prototypical_networks(
    encoder: Model, *, ways: int, loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels
) -> Learner:
    r"""Classifies by the squared Euclidean distance to each class's mean support feature.

    .. math:: p(k \mid x) = \mathrm{softmax}_k(-|f(x) - c_k|^2)

    Args:
      encoder: ``x [n, ...] -> features [n, d]``.
      ways: the number of classes of an episode, labelled ``0, ..., ways - 1``; testing may use a learner with another number and
        the same parameters.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if ``ways`` is below 1.
    """
    if ways < 1:
        raise ValueError(f"ways must be at least 1; got {ways}.")

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode, ways=ways)
        return encoder.init(key, episode.support.x)

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: jax.Array | None = None) -> Adapted:
        del classes
        features = encoder.apply(params, support.x, key=key, mask=support.mask)
        members = jax.nn.one_hot(support.y, ways, dtype=features.dtype)
        if support.mask is not None:
            features = jnp.where(support.mask[:, None], features, 0)
            members = members * support.mask[:, None]
        # An absent class has a prototype at the origin; the mask of classes hides it.
        return members.T @ features / jnp.maximum(members.sum(axis=0), 1)[:, None]

    def predict(
        params: Params,
        adapted: Adapted,
        x: jax.Array,
        *,
        key: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        features = encoder.apply(params, x, key=key, mask=mask)
        return -jnp.square(features[:, None] - adapted[None]).sum(axis=-1)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, encoder.normalization)
