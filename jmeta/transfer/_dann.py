"""Domain-adversarial neural networks (Ganin et al., 2016, 1505.07818), equations 13 to 18."""

from typing import Any

import jax

from jmeta._options import check_model
from jmeta._types import Metrics, Model, Params
from jmeta.transfer._alignment import Alignment, Domain, Strength, at, vectors
from jmeta.transfer._discriminating import domain_loss, init_discriminator
from jmeta.transfer._reversal import reverse_gradient


def dann(discriminator: Model, *, reversal: Strength = 1.0, strength: Strength = 1.0) -> Alignment:
    r"""Lets the encoder make features by which a discriminator cannot tell the domains apart.

    .. math:: \min_{D} \max_{f} \; \tfrac{1}{2} \mathbb{E}_s[-\log D(f(x))] + \tfrac{1}{2} \mathbb{E}_t[-\log (1 - D(f(x)))]

    by one descent: the gradient is reversed between features and discriminator. So the metric ``alignment/domain_accuracy`` falls
    to a half where all goes well, and the loss rises to log 2.

    Args:
      discriminator: ``features [n, d] -> logits``, ``[n]`` or ``[n, 1]``, positive for the source.
      reversal: how much of its gradient the encoder is given, a number or a schedule, such as
        :func:`jmeta.transfer.reversal_schedule`.
      strength: of the whole, discriminator included, or a schedule of it.

    Raises:
      ValueError: if the discriminator is no model; from ``init``, if it does not give one logit per row.
    """
    check_model("discriminator", discriminator)

    def init(key: jax.Array, features: Any, outputs: Any) -> Params:
        del outputs
        return init_discriminator(discriminator, key, features.reshape(len(features), -1))

    def loss(params: Params, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        rate = at(reversal, step)
        sides = [(reverse_gradient(vectors(domain), rate), domain.batch.mask, domain.batch.mask) for domain in (source, target)]
        value, metrics = domain_loss(discriminator, params, key, *sides)
        return at(strength, step) * value, {"distance": value} | metrics

    return Alignment(init, loss)
