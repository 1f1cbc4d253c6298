"""A ridge-regression head, R2D2 (Bertinetto, Henriques, Torr and Vedaldi, 2019, 1805.08136), section 3.2."""

import math

import jax.numpy as jnp
import optax

from jmeta._options import check_positive
from jmeta._types import Learner, LossFn, Model
from jmeta.metric_based._fitted import head_on_features
from jmeta.metric_based.heads import ridge_head


def ridge_regression(
    encoder: Model, *, regularization: float = 50.0, loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels
) -> Learner:
    r"""Classifies by the ridge regression of one-hot labels on the features of the support.

    .. math:: a f(x) W, \quad W = \arg\min_W |F W - Y|^2 + \lambda |W|^2

    with the scale a and :math:`\lambda` learnt, as in the paper; the authors' code keeps :math:`\lambda` at 50. The offset b of the
    paper is the same for all classes, which no softmax sees, and is left out. The ways are those of the task.

    Args:
      encoder: ``x -> features [n, d]``.
      regularization: where :math:`\lambda` starts.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model or the regularisation not positive; from ``init``, if the encoder gives no vectors, a
        task's values are not sound, or a class has no support.
    """
    check_positive(regularization=regularization)
    return head_on_features(
        encoder,
        {"log_regularization": math.log(regularization), "scale": 1.0},
        lambda own, features, members: ridge_head(features, members, regularization=jnp.exp(own["log_regularization"])),
        lambda own, head, features: own["scale"] * (features @ head),
        loss_fn,
    )
