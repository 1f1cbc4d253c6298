"""Almost no inner loop (Raghu, Raghu, Bengio and Vinyals, 2020, 1909.09157), section 4."""

from typing import Any

import jax

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._composition import check_encoder_head, compose
from jmeta._learners import from_params, gradient_based, predict_with
from jmeta._types import EncoderHead, Episode, Key, Learner, LossFn, Mask, Params
from jmeta._validation import checked_init


def anil(
    model: EncoderHead,
    loss_fn: LossFn,
    inner_optimizer: InnerOptimizer,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
) -> Learner:
    """Learns an encoder and an initial head; only the head adapts, both get the outer gradient.

    The support features are computed once per task, so further inner steps cost next to nothing.

    Args:
      model: two models, the encoder that stays and the head that adapts.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      inner_optimizer: any optax transformation.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``model`` is not two models or ``num_steps`` is negative; from ``init``, if the inner optimiser is not
        differentiable at a zero gradient.
    """
    check_encoder_head(model)
    encoder, head = model

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(compose(encoder, head), key, episode, loss_fn)

    def encode(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return encoder.apply(params.encoder, x, key=key, mask=mask)

    return gradient_based(
        init,
        from_params(lambda params: params.head),
        predict_with(head),
        loss_fn,
        inner_optimizer,
        num_steps=num_steps,
        adjoint=adjoint,
        encode=encode,
        normalization=encoder.normalization,
    )
