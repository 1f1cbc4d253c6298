"""A learned inner objective, ML3 (Bechtle, Molchanov, Chebotar, Grefenstette, Righetti, Sukhatme and Meier, 2021, 1906.05374)."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._composition import outputs_like
from jmeta._learners import from_params, gradient_based, predict_with
from jmeta._options import check_model
from jmeta._rows import fill_batch, has_labels
from jmeta._sentences import kinds
from jmeta._types import Batch, Episode, Learner, LossFn, Model, Params
from jmeta._validation import checked_init


def learned_objective(
    model: Model,
    loss_fn: LossFn,
    objective: Model,
    inner_optimizer: InnerOptimizer,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
) -> Learner:
    r"""Learns initial weights and what is minimised on the support; the query is judged by ``loss_fn``.

    .. math:: \phi = \theta - \alpha \nabla_\theta \frac1n \sum_i \mathrm{softplus}(g(f_\theta(x_i), y_i))

    Parameters are ``{"initial": weights, "objective": those of g}``. Of labels, g is given the softmax of the outputs and the
    one-hot label, of which absent classes are 0; of numbers, outputs and targets as they are. Weights and masks of the support
    count as in any loss.

    Differs from the authors' code in that the start is learnt with the objective; there it is drawn anew.

    Args:
      model: the network, of outputs ``[n, k]``; all of its parameters are adapted.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for the query.
      objective: g, ``[n, outputs and targets] -> [n, 1]``.
      inner_optimizer: any optax transformation.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if a part is no model or ``num_steps`` is negative; from ``init``, if outputs are not ``[n, k]`` or targets no
        array, g does not give one number for each row, or the inner optimiser is not differentiable at a zero gradient.
    """
    check_model("model", model)
    check_model("objective", objective)

    def init(key: jax.Array, episode: Episode) -> Params:
        model_key, objective_key = jax.random.split(key)
        support = fill_batch(episode.support)
        weights = checked_init(model, model_key, episode, loss_fn)
        outputs = outputs_like(model.apply, weights, support.x)
        if getattr(outputs, "ndim", None) != 2 or not hasattr(support.y, "ndim"):
            parts = f"outputs {kinds(outputs)} and targets {kinds(support.y)}"
            raise ValueError(f"outputs must be [n, k] and targets one array, for an objective to be given both; got {parts}.")
        given = _given(outputs, support.y)
        params = objective.init(objective_key, given)
        costs = outputs_like(objective.apply, params, given)
        if getattr(costs, "shape", None) != (len(given), 1):
            raise ValueError(f"objective must give one number for each row, [n, 1]; got {kinds(costs)}.")
        return {"initial": weights, "objective": params}

    def support_loss_fn(params: Params) -> LossFn:
        return lambda outputs, targets: jax.nn.softplus(objective.apply(params["objective"], _given(outputs, targets)))[:, 0]

    start, predict, norm = from_params(lambda params: params["initial"]), predict_with(model), model.normalization
    options = {"num_steps": num_steps, "adjoint": adjoint, "support_loss_fn": support_loss_fn, "normalization": norm}
    return gradient_based(init, start, predict, loss_fn, inner_optimizer, **options)


def _given(outputs: jax.Array, targets: Any) -> jax.Array:
    """Puts together what the objective is a function of, ``[n, 2 k]``."""
    if has_labels(Batch(None, targets)):
        outputs, targets = jax.nn.softmax(outputs), jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)
    return jnp.concatenate([outputs, targets.reshape(len(outputs), -1).astype(outputs.dtype)], axis=1)
