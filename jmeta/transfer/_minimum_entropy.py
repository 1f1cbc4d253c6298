"""Entropy minimisation (Grandvalet and Bengio, 2004, NIPS, *Semi-supervised learning by entropy minimization*), equation 6."""

import jax

from jmeta.transfer._alignment import Alignment, Domain, Strength, alignment_by, entropies, logits, mean_of


def minimum_entropy(*, strength: Strength = 1.0) -> Alignment:
    r"""Lets the head be sure of itself in the target domain: what it decides there passes between clusters, not through them.

    .. math:: \lambda \, \mathbb{E}_t \left[ -\sum_c p_c(x) \log p_c(x) \right]

    Alone it may be sure of one class for everything; the source is not looked at.

    Args:
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.

    Raises:
      ValueError: from the loss, if outputs are no logits.
    """

    def entropy(source: Domain, target: Domain) -> jax.Array:
        del source
        return mean_of(target, entropies(logits(target)))

    return alignment_by(entropy, strength)
