"""Model-agnostic meta-learning (Finn, Abbeel and Levine, 2017, 1703.03400), algorithm 1.

With the ``first_order()`` adjoint it is FOMAML (section 5.2). With ``num_steps=0`` it is pretraining on all tasks, the baseline
that is then fine-tuned along ``path``.
"""

import jax
import optax

from jmeta._adaptation import Adjoint, gradient_descent, unrolled
from jmeta._objectives import query_loss, score
from jmeta._types import Adapted, Batch, Episode, Learner, LossFn, Metrics, Model, Params
from jmeta._validation import checked_init


def maml(
    model: Model,
    loss_fn: LossFn,
    inner_optimizer: optax.GradientTransformation,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
) -> Learner:
    r"""Learns initial parameters from which a few gradient steps fit a new task.

    .. math:: \min_\theta \sum_i L_{Q_i}(\phi_i), \quad \phi_i = \theta - \alpha \nabla L_{S_i}(\theta)

    Args:
      model: the network; all of its parameters are adapted.
      loss_fn: ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``, for support and query.
      inner_optimizer: any optax transformation; the paper has ``optax.sgd``.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``num_steps`` is negative or the inner optimiser is not differentiable at a zero gradient.
    """

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(model, key, episode)

    def support_loss(
        adapted: Adapted, key: jax.Array, data: tuple[Batch, jax.Array | None], *, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Metrics]:
        del step
        support, classes = data
        outputs = model.apply(adapted, support.x, key=key, mask=support.mask)
        return score(loss_fn, outputs, support, classes), {}

    descent = gradient_descent(support_loss, inner_optimizer, num_steps, adjoint=adjoint or unrolled())

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: jax.Array | None = None) -> Adapted:
        return descent.run(params, key, (support, classes))

    def path(params: Params, key: jax.Array, support: Batch, num_steps: int, *, classes: jax.Array | None = None) -> Adapted:
        return descent.path(params, key, (support, classes), num_steps)

    def predict(
        params: Params,
        adapted: Adapted,
        x: jax.Array,
        *,
        key: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        del params
        return model.apply(adapted, x, key=key, mask=mask)

    return Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), path, model.normalization)
