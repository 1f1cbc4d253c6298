"""Maximum classifier discrepancy (Saito, Watanabe, Ushiku and Harada, 2018, 1712.02560), equations 2 to 9.

In one step with reversed gradients, the ``one_step`` of the authors' code; their figures are of three steps that take turns.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._options import check_model
from jmeta._scoring import score
from jmeta._types import LossFn, Metrics, Model, Params
from jmeta.transfer._alignment import Alignment, Domain, Strength, at, check_logits, init_beside, mean_of
from jmeta.transfer._reversal import reverse_gradient


def mcd(
    second_head: Model,
    *,
    loss_fn: LossFn = optax.softmax_cross_entropy_with_integer_labels,
    reversal: Strength = 1.0,
    strength: Strength = 1.0,
) -> Alignment:
    r"""Draws target features to where two heads, both right on the source, agree even as they try not to.

    .. math:: \min_{f} \max_{h, h'} \; \mathbb{E}_t \left[ \tfrac{1}{C} \sum_c |p_c(x) - p'_c(x)| \right]

    besides the losses of both heads on the source. The heads need different initial weights, which they get.

    Args:
      second_head: ``features -> logits [n, classes]``, as a rule of the same kind as the head.
      loss_fn: of the second head on the source.
      reversal: how much of the gradient of the discrepancy the encoder is given, a number or a schedule.
      strength: of the discrepancy, or a schedule of it.

    Raises:
      ValueError: if the second head is no model; from ``init``, if it gives other outputs than the head.
    """
    check_model("second_head", second_head)

    def init(key: jax.Array, features: Any, outputs: Any) -> Params:
        return init_beside("second_head", second_head, key, features, outputs)

    def loss(params: Params, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        keys = jax.random.split(key)
        second = second_head.apply(params, source.features, key=keys[0], mask=source.batch.mask)
        on_source = score(loss_fn, second, source.batch)
        features = reverse_gradient(target.features, at(reversal, step))
        guesses = target.head(features), second_head.apply(params, features, key=keys[1], mask=target.batch.mask)
        first, other = (jax.nn.softmax(check_logits("outputs", logits)) for logits in guesses)
        apart = mean_of(target, jnp.abs(first - other))
        return on_source - at(strength, step) * apart, {"distance": apart, "second_loss": on_source}

    return Alignment(init, loss)
