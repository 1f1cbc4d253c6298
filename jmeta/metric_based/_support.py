"""What learners share that compare with examples: an encoder that is made for a support, and what it makes of one."""

import jax

from jmeta._composition import outputs_like
from jmeta._rows import fill_batch, one_hot
from jmeta._sentences import kinds
from jmeta._types import Batch, Episode, Key, Mask, Model, Params
from jmeta._validation import check_episode, check_support_of_classes


def init_encoder(encoder: Model, key: jax.Array, episode: Episode, *, vectors: bool = True) -> tuple[Params, jax.Array]:
    """Makes the parameters of an encoder, and zeros of the shape of the features of a support.

    Args:
      encoder: ``x -> features``.
      key: for the parameters.
      episode: a task, whose values are checked.
      vectors: whether features must be one vector for each row.

    Raises:
      ValueError: if a task's values are not sound, a class has no support, or the encoder gives no vectors.
    """
    check_episode(episode)
    check_support_of_classes(episode)
    x = fill_batch(episode.support).x
    params = encoder.init(key, x)
    features = outputs_like(encoder.apply, params, x)
    if vectors and getattr(features, "ndim", None) != 2:
        raise ValueError(f"encoder must give one vector for each row, [n, d]; got {kinds(features)}.")
    return params, features


def encode_support(
    encoder: Model, params: Params, key: Key, support: Batch, classes: Mask, *, training: bool
) -> tuple[jax.Array, jax.Array]:
    """Gives the features of a support, and how much each row counts for each class, ``[n, ways]``."""
    support, members = fill_batch(support), one_hot(support, classes)
    return encoder.apply(params, support.x, key=key if training else None, mask=support.mask), members
