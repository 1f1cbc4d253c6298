"""Relation networks (Sung, Yang, Zhang, Xiang, Torr and Hospedales, 2018, 1711.06025), equations 1 to 3."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import check_encoder_head, fitted, split_key
from jmeta._rows import fill, shots
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, EncoderHead, Episode, Key, Learner, LossFn, Mask, Params
from jmeta.metric_based._support import encode_support, init_encoder


def relation_loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Squares the differences of relation scores, the sigmoids of ``outputs [n, ways]``, from one-hot ``labels``; ``[n]``.

    The sum over the classes; the authors' code takes their mean, which is a factor of the learning rate.
    """
    return jnp.square(jax.nn.sigmoid(outputs) - jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)).sum(axis=-1)


def relation_networks(model: EncoderHead, *, loss_fn: LossFn = relation_loss) -> Learner:
    r"""Classifies by a learned comparison of a query's features with the sum of each class's support features.

    .. math:: r_k(x) = \sigma\left(g\left[\sum_{i: y_i = k} f(x_i),\ f(x)\right]\right)

    What is predicted is g before the sigmoid. Sums are taken as in the paper, so the number of shots in training is that of
    testing; a weight is a number of shots, relative to the mean weight of the support. With features that keep their place
    (``[n, h, w, c]``), g is a convolutional network, as in the paper, over the two stacked by channel.

    Differs from the authors' code in the loss (see ``relation_loss``). At many ways, squared errors of sigmoids can fall into
    the prior, 1 / ways for everything: ``loss_fn`` may be ``optax.softmax_cross_entropy_with_integer_labels``.

    Args:
      model: the encoder f, ``x -> features [n, ..., d]``, and the relation module g, ``[pairs, ..., 2 d] -> [pairs, 1]``.
      loss_fn: of the outputs ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if ``model`` has no two parts; from ``init``, if a task's values are not sound, a class has no support, or g does
        not give one number for each pair.
    """
    check_encoder_head(model)

    def init(key: jax.Array, episode: Episode) -> Params:
        encoder_key, head_key = jax.random.split(key)
        encoder, features = init_encoder(model.encoder, encoder_key, episode, vectors=False)
        pairs = jnp.concatenate([features, features], axis=-1)
        head, scores = fitted("model.head", "model.encoder", model.head, head_key, pairs)
        if getattr(scores, "shape", None) != (len(pairs), 1):
            shape = jax.tree.map(jnp.shape, scores)
            raise ValueError(f"model.head must give one number for each pair, [pairs, 1]; got {shape} for {pairs.shape}.")
        return EncoderHead(encoder, head)

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        features, members = encode_support(model.encoder, params.encoder, key, support, classes, training=training)
        return jnp.tensordot(shots(members).T, features, axes=1)

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        encoder_key, head_key = split_key(key)
        features = model.encoder.apply(params.encoder, fill(x, mask), key=encoder_key, mask=mask)
        shape = (len(features), *adapted.shape)
        sums, queries = jnp.broadcast_to(adapted[None], shape), jnp.broadcast_to(features[:, None], shape)
        pairs = jnp.concatenate([sums, queries], axis=-1)
        real = None if mask is None else jnp.repeat(mask, len(adapted))
        scores = model.head.apply(params.head, pairs.reshape(-1, *pairs.shape[2:]), key=head_key, mask=real)
        return scores.reshape(shape[:2])

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, model.encoder.normalization)
