"""Body only update in the inner loop (Oh, Yoo, Kim and Yun, 2021, 2008.08882), section 3."""

from typing import Any

import jax

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._composition import check_encoder_head, compose
from jmeta._learners import from_params, gradient_based
from jmeta._types import Adapted, EncoderHead, Episode, Key, Learner, LossFn, Mask, Params
from jmeta._validation import checked_init


def boil(
    model: EncoderHead, loss_fn: LossFn, inner_optimizer: InnerOptimizer, *, num_steps: int = 1, adjoint: Adjoint | None = None
) -> Learner:
    """Learns an initial encoder and a head; only the encoder adapts, both get the outer gradient: the opposite of ANIL.

    Args:
      model: two models, the encoder that adapts and the head that stays.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      inner_optimizer: any optax transformation; the authors take one step of ``optax.sgd(0.5)``.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``model`` is not two models or ``num_steps`` is negative; from ``init``, if the inner optimiser is not
        differentiable at a zero gradient.
    """
    check_encoder_head(model)
    whole = compose(*model)

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(whole, key, episode, loss_fn)

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return whole.apply(EncoderHead(adapted, params.head), x, key=key, mask=mask)

    start, norm = from_params(lambda params: params.encoder), whole.normalization
    return gradient_based(init, start, predict, loss_fn, inner_optimizer, num_steps=num_steps, adjoint=adjoint, normalization=norm)
