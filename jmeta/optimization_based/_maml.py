"""Model-agnostic meta-learning (Finn, Abbeel and Levine, 2017, 1703.03400), algorithm 1.

With the ``first_order()`` adjoint it is FOMAML (section 5.2), with ``implicit(...)`` iMAML (Rajeswaran et al., 2019, 1909.04630).
With ``num_steps=0`` it is pretraining on all tasks, the baseline that is then fine-tuned along ``path``.
"""

from typing import Any

import jax

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._learners import from_params, gradient_based
from jmeta._options import check_model
from jmeta._paths import Select, chosen_part, merge
from jmeta._types import Adapted, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta._validation import checked_init


def maml(
    model: Model,
    loss_fn: LossFn,
    inner_optimizer: InnerOptimizer,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
    adapts: Select | None = None,
) -> Learner:
    r"""Learns initial parameters from which a few gradient steps fit a new task.

    .. math:: \min_\theta \sum_i L_{Q_i}(\phi_i), \quad \phi_i = \theta - \alpha \nabla L_{S_i}(\theta)

    >>> import optax
    >>> import jmeta
    >>> from jmeta.nn import MultilayerPerceptron
    >>> model = jmeta.from_linen(MultilayerPerceptron((40, 40, 1)))
    >>> last_layer = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.01), adapts=lambda path: "Dense_2" in path)

    Args:
      model: the network.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      inner_optimizer: any optax transformation; the paper has ``optax.sgd``.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.
      adapts: which parameters the inner steps change, a predicate on paths such as ``"Dense_0/kernel"`` or a prefix tree of
        booleans; all of them by default. All get the outer gradient.

    Raises:
      ValueError: if ``model`` is no model or ``num_steps`` is negative; from ``init``, if the inner optimiser is not differentiable
        at a zero gradient or ``adapts`` chooses nothing.
    """
    check_model("model", model)

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(model, key, episode, loss_fn)

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return model.apply(merge(adapted, params), x, key=key, mask=mask)

    start = from_params(lambda params: chosen_part(params, adapts, name="adapts"))
    return gradient_based(
        init, start, predict, loss_fn, inner_optimizer, num_steps=num_steps, adjoint=adjoint, normalization=model.normalization
    )
