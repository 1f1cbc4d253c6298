"""Almost no inner loop (Raghu, Raghu, Bengio and Vinyals, 2020, 1909.09157), section 4."""

import jax
import optax

from jmeta._adaptation import Adjoint, gradient_descent, unrolled
from jmeta._objectives import query_loss, score
from jmeta._types import Adapted, Batch, EncoderHead, Episode, Learner, LossFn, Metrics, Params
from jmeta._validation import checked_init
from jmeta.models import compose


def anil(
    model: EncoderHead,
    loss_fn: LossFn,
    inner_optimizer: optax.GradientTransformation,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
) -> Learner:
    """Learns an encoder and an initial head; only the head adapts, both get the outer gradient.

    The support features are computed once per task, so further inner steps cost next to nothing.

    Args:
      model: two models, the encoder that stays and the head that adapts.
      loss_fn: ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``.
      inner_optimizer: any optax transformation.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``num_steps`` is negative or the inner optimiser is not differentiable at a zero gradient.
    """
    encoder, head = model

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(compose(encoder, head), key, episode)

    def support_loss(
        adapted: Adapted, key: jax.Array, data: tuple[Batch, jax.Array | None], *, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Metrics]:
        del step
        features, classes = data
        outputs = head.apply(adapted, features.x, key=key, mask=features.mask)
        return score(loss_fn, outputs, features, classes), {}

    descent = gradient_descent(support_loss, inner_optimizer, num_steps, adjoint=adjoint or unrolled())

    def encode(params: Params, key: jax.Array, support: Batch) -> tuple[jax.Array, Batch]:
        encoder_key, head_key = jax.random.split(key)
        features = encoder.apply(params.encoder, support.x, key=encoder_key, mask=support.mask)
        return head_key, support._replace(x=features)

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: jax.Array | None = None) -> Adapted:
        key, features = encode(params, key, support)
        return descent.run(params.head, key, (features, classes))

    def path(params: Params, key: jax.Array, support: Batch, num_steps: int, *, classes: jax.Array | None = None) -> Adapted:
        key, features = encode(params, key, support)
        return descent.path(params.head, key, (features, classes), num_steps)

    def predict(
        params: Params,
        adapted: Adapted,
        x: jax.Array,
        *,
        key: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        return compose(encoder, head).apply(EncoderHead(params.encoder, adapted), x, key=key, mask=mask)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), path, encoder.normalization)
