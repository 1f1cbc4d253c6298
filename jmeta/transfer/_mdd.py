"""Margin disparity discrepancy (Zhang, Liu, Long and Jordan, 2019, 1904.05801), equations 29 and 30."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._options import check_model, check_positive
from jmeta._types import Metrics, Model, Params
from jmeta.transfer._alignment import Alignment, Domain, Strength, at, check_logits, init_beside, logits, mean_of
from jmeta.transfer._reversal import reverse_gradient


def mdd(adversary: Model, *, margin: float = 4.0, reversal: Strength = 0.1, strength: Strength = 1.0) -> Alignment:
    r"""Draws target features to where no head that agrees with the head on the source disagrees with it.

    .. math::
        \min_{h'} \max_{f} \; \gamma \, \mathbb{E}_s \left[-\log p'_{h(x)}(x)\right]
        + \mathbb{E}_t \left[-\log (1 - p'_{h(x)}(x))\right]

    with :math:`h(x)` the class that the head decides for, on which no gradient lies, and :math:`p'` the probabilities of the
    adversary.

    Args:
      adversary: ``features -> logits [n, classes]``, as a rule of the same kind as the head.
      margin: :math:`\gamma`, the exponential of the margin.
      reversal: how much of the adversary's gradient the encoder is given, a number or a schedule;
        ``reversal_schedule(1000, gamma=1, peak=0.1)`` is that of the authors' code.
      strength: of the whole, adversary included, or a schedule of it.

    Raises:
      ValueError: if the adversary is no model, or the margin not positive; from ``init``, if it gives other outputs than the head.
    """
    check_model("adversary", adversary)
    check_positive(margin=margin)

    def init(key: jax.Array, features: Any, outputs: Any) -> Params:
        return init_beside("adversary", adversary, key, features, outputs)

    def loss(params: Params, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        rate, keys = at(reversal, step), jax.random.split(key)

        def opinion(domain: Domain, key: jax.Array) -> jax.Array:
            features = reverse_gradient(domain.features, rate)
            return check_logits("adversary", adversary.apply(params, features, key=key, mask=domain.batch.mask))

        decided, doubted = (logits(domain).argmax(axis=-1) for domain in (source, target))
        agreement = optax.softmax_cross_entropy_with_integer_labels(opinion(source, keys[0]), decided)
        disagreement = -_log_of_others(opinion(target, keys[1]), doubted)
        value = margin * mean_of(source, agreement) + mean_of(target, disagreement)
        return at(strength, step) * value, {"distance": -value}

    return Alignment(init, loss)


def _log_of_others(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Computes ``log(1 - p)`` of a class in each row; as a difference from 1 it would be ``log 0`` for a sure adversary."""
    others = jnp.where(jax.nn.one_hot(classes, logits.shape[1], dtype=bool), -jnp.inf, logits)
    return jax.nn.logsumexp(others, axis=-1) - jax.nn.logsumexp(logits, axis=-1)
