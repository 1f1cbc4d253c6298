"""Distances of Mahalanobis, the head of Simple CNAPS (Bateni, Goyal, Masrani, Wood and Sigal, 2020, 1912.03432), section 4."""

import optax

from jmeta._options import check_positive
from jmeta._types import Learner, LossFn, Model
from jmeta.metric_based._fitted import head_on_features
from jmeta.metric_based.heads import mahalanobis_distances, mahalanobis_head


def mahalanobis_classifier(
    encoder: Model, *, regularization: float = 1.0, loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels
) -> Learner:
    r"""Classifies by the distance to each class's mean that its covariance measures.

    .. math:: p(k \mid x) = \mathrm{softmax}_k\left(-(f(x) - \mu_k)^T Q_k^{-1} (f(x) - \mu_k)\right)

    with covariances Q drawn towards that of the task and to the identity, as :func:`jmeta.metric_based.heads.mahalanobis_head` has
    them. A task costs ``ways d^3 / 3`` operations.

    The distance is whole, as in the authors' code; the paper has half of it. Differs from that code in the covariance of a class of
    one shot, which is 0 here and there the variance over features in every entry; and from the authors' networks, whose encoder is
    modulated by the task.

    Args:
      encoder: ``x -> features [n, d]``.
      regularization: what is added to the diagonal of Q.
      loss_fn: of the logits ``[n, ways]`` and the labels ``[n]``.

    Raises:
      ValueError: if the encoder is no model or the regularisation not positive; from ``init``, if the encoder gives no vectors, a
        task's values are not sound, or a class has no support.
    """
    check_positive(regularization=regularization)
    return head_on_features(
        encoder,
        {},
        lambda own, features, members: mahalanobis_head(features, members, regularization=regularization),
        lambda own, head, features: (-mahalanobis_distances(features, head)).astype(features.dtype),
        loss_fn,
    )
