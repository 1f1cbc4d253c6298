"""Proto-MAML (Triantafillou et al., 2020, Meta-Dataset, 1903.03096), section 3."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._learners import gradient_based
from jmeta._options import check_model
from jmeta._rows import class_means, fill_batch, one_hot
from jmeta._types import Adapted, Batch, EncoderHead, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta._validation import check_episode, check_support_of_classes


def proto_maml(
    encoder: Model, loss_fn: LossFn, inner_optimizer: InnerOptimizer, *, num_steps: int = 1, adjoint: Adjoint | None = None
) -> Learner:
    r"""Descends from a linear head that classifies by the prototypes of the task; encoder and head adapt.

    .. math:: w_k = 2 c_k, \quad b_k = -|c_k|^2, \quad c_k = \mathrm{mean}_{i: y_i = k} f_\theta(x_i)

    Without a step it is a prototypical network. The gradient flows through the start of the head as well, also with
    ``first_order()``, and the ways are those of the task. A weight of the support says how much a row counts, in the mean and in
    the steps.

    Differs from the authors' code, which takes first-order gradients.

    Args:
      encoder: ``x -> features [n, d]``.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``, for support and query.
      inner_optimizer: any optax transformation.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if the encoder is no model or ``num_steps`` is negative; from ``init``, if a task's values are not sound, a class
        has no support, or the inner optimiser is not differentiable at a zero gradient.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        check_support_of_classes(episode)
        return encoder.init(key, fill_batch(episode.support).x)

    def start(params: Params, key: Key, support: Batch, classes: Mask) -> Adapted:
        centres = class_means(encoder.apply(params, support.x, key=key, mask=support.mask), one_hot(support, classes))
        return EncoderHead(params, {"kernel": 2 * centres.T, "bias": -jnp.square(centres).sum(axis=1)})

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        del params
        features = encoder.apply(adapted.encoder, x, key=key, mask=mask)
        return features @ adapted.head["kernel"] + adapted.head["bias"][None]

    norm = encoder.normalization
    return gradient_based(init, start, predict, loss_fn, inner_optimizer, num_steps=num_steps, adjoint=adjoint, normalization=norm)
