"""A logistic head, LR-D2 (Bertinetto, Henriques, Torr and Vedaldi, 2019, 1805.08136), section 3.3."""

import math

import jax.numpy as jnp
import optax

from jmeta._options import check_counts, check_positive
from jmeta._types import Learner, LossFn, Model
from jmeta.metric_based._fitted import head_on_features
from jmeta.metric_based.heads import logistic_head


def logistic_regression(
    encoder: Model,
    *,
    regularization: float = 50.0,
    scale: float = 10.0,
    num_steps: int = 5,
    loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels,
) -> Learner:
    r"""Classifies by a logistic regression of each class against the others, a few steps of Newton's method from 0.

    Predictions are :math:`a f(x) W`, with the scale a and :math:`\lambda` learnt. The ways are those of the task.

    Differs from the authors' code, which keeps :math:`\lambda` at 50.

    Args:
      encoder: ``x -> features [n, d]``.
      regularization: where :math:`\lambda` starts.
      scale: where a starts.
      num_steps: of Newton's method.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model, an option not positive, or ``num_steps`` below 1; from ``init``, if the encoder gives
        no vectors, a task's values are not sound, or a class has no support.
    """
    check_positive(regularization=regularization, scale=scale)
    check_counts(num_steps=num_steps)
    return head_on_features(
        encoder,
        {"log_regularization": math.log(regularization), "scale": scale},
        lambda own, features, members: logistic_head(
            features, members, regularization=jnp.exp(own["log_regularization"]), num_steps=num_steps
        ),
        lambda own, head, features: own["scale"] * (features @ head),
        loss_fn,
    )
