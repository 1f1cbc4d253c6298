"""Prototypical networks (Snell, Swersky and Zemel, 2017, 1703.05175), equations 1 and 2."""

from typing import Any

import jax
import optax

from jmeta._distances import squared_distances
from jmeta._options import check_model
from jmeta._rows import class_means, fill
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta.metric_based._support import encode_support, init_encoder


def prototypical_networks(encoder: Model, *, loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels) -> Learner:
    r"""Classifies by the squared Euclidean distance to each class's mean support feature.

    .. math:: p(k \mid x) = \mathrm{softmax}_k(-|f(x) - c_k|^2)

    The ways are those of the task, ``len(episode.classes)``: one learner trains on 60 and tests on 5. A support row counts in the
    mean what its weight says. Under jit, a class that is marked real and has no support has its prototype at the origin.

    Args:
      encoder: ``x -> features [n, d]``.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model, or a task has no ``classes``; from ``init``, if its values are not sound, a class has
        no support, or the encoder gives no vectors.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, episode: Episode) -> Params:
        return init_encoder(encoder, key, episode)[0]

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        return class_means(*encode_support(encoder, params, key, support, classes, training=training))

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        return -squared_distances(encoder.apply(params, fill(x, mask), key=key, mask=mask), adapted)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, encoder.normalization)
