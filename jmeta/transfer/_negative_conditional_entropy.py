"""Negative conditional entropy (Tran, Nguyen and Hassner, 2019, 1908.08142), equation 6."""

from typing import Any

import numpy as np

from jmeta.transfer._transferability import labels_of, one_hot


def negative_conditional_entropy(source_labels: Any, labels: Any) -> float:
    r"""Says how sure labels are once the labels of another task are known for the same examples, in nats.

    .. math:: -H(Y \mid Z) = \sum_{y, z} \hat{P}(y, z) \log \frac{\hat{P}(y, z)}{\hat{P}(z)}

    At most 0, which it is where the other labels tell these.

    Args:
      source_labels: ``[n]`` integers, such as the guesses of a pretrained classifier.
      labels: ``[n]`` integers.

    Raises:
      ValueError: if labels are not one per example, or there is none.

    >>> negative_conditional_entropy([3, 3, 5, 5], [0, 0, 1, 1])
    0.0
    """
    rows = np.size(source_labels)
    if not rows:
        raise ValueError("source_labels must hold at least one label; got none.")
    source, target = one_hot(labels_of("source_labels", source_labels, rows)), one_hot(labels_of("labels", labels, rows))
    joint = source.T @ target / rows
    seen = joint > 0
    share = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
    return float((joint[seen] * np.log(joint[seen] / share[seen])).sum())
