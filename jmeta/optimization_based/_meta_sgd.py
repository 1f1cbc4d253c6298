"""Meta-SGD (Li, Zhou, Chen and Li, 2017, 1707.09835), equation 1."""

import jax
import jax.numpy as jnp
import optax

from jmeta._adjoints import Adjoint
from jmeta._learners import from_params, gradient_based, predict_with
from jmeta._options import check_model
from jmeta._types import Episode, Learner, LossFn, Model, Params
from jmeta._validation import checked_init


def meta_sgd(
    model: Model, loss_fn: LossFn, *, initial_rate: float = 0.01, num_steps: int = 1, adjoint: Adjoint | None = None
) -> Learner:
    r"""Learns initial weights and a step size for each: :math:`\phi = \theta - \alpha \circ \nabla L_S(\theta)`, of either sign.

    Parameters are ``{"initial": weights, "rates": step sizes}``. Rates that are learnt spike: clip the outer gradient.

    Args:
      model: the network; all of its parameters are adapted.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      initial_rate: the first step size of every weight; the paper draws them from an interval.
      num_steps: the number of inner steps in training, all with the same step sizes; the paper has 1.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``model`` is no model or ``num_steps`` is negative.
    """
    check_model("model", model)

    def init(key: jax.Array, episode: Episode) -> Params:
        weights = checked_init(model, key, episode, loss_fn)
        return {"initial": weights, "rates": jax.tree.map(lambda leaf: jnp.full_like(leaf, initial_rate), weights)}

    def descent(rates: Params) -> optax.GradientTransformation:
        return optax.stateless(lambda grads, _: jax.tree.map(lambda rate, grad: -rate * grad, rates, grads))

    start, rule = (from_params(lambda params, part=part: params[part]) for part in ("initial", "rates"))
    predict, norm = predict_with(model), model.normalization
    return gradient_based(
        init, start, predict, loss_fn, descent, num_steps=num_steps, adjoint=adjoint, rule=rule, normalization=norm
    )
