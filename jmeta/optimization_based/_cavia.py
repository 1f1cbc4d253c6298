"""Fast context adaptation, CAVIA (Zintgraf, Shiarli, Kurin, Hofmann and Whiteson, 2019, 1810.03642), section 3."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import Adjoint
from jmeta._learners import gradient_based
from jmeta._options import check_counts, check_model
from jmeta._rows import fill_batch
from jmeta._sentences import kinds
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Model, Params
from jmeta._validation import check_episode, check_task


def cavia(
    model: Model,
    loss_fn: LossFn,
    inner_optimizer: InnerOptimizer,
    *,
    context: int = 5,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
) -> Learner:
    r"""Adapts a context of a few numbers, an additional input of the network, and no weight of it.

    .. math:: \phi = 0 - \alpha \nabla_\phi L_S(f_\theta(x, \phi)) \big|_{\phi = 0}

    What adapts is ``[context]``. It starts at 0 in every task, so the network's parameters are all that is learnt; the rows of its
    first layer that the context meets are what tasks differ by. Images ``[n, h, w, c]`` get it as channels that are the same
    everywhere.

    Differs from the authors' code, which clips the outer gradient of each task to 10 in either direction, and modulates an inner
    layer of convolutional networks (FiLM) instead of extending the input.

    Args:
      model: the network, of inputs ``[n, ..., d + context]``.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      inner_optimizer: any optax transformation; the authors take one step of ``optax.sgd(1.0)``.
      context: how many numbers.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if ``model`` is no model, ``context`` below 1 or ``num_steps`` negative; from ``init``, if inputs are no array
        ``[n, ..., d]``, or the inner optimiser is not differentiable at a zero gradient.
    """
    check_model("model", model)
    check_counts(context=context)

    def extended(x: Any, values: jax.Array) -> jax.Array:
        if not hasattr(x, "ndim") or x.ndim < 2:
            raise ValueError(f"x must be one array [n, ..., d], for a context to be put beside it; got {kinds(x)}.")
        return jnp.concatenate([x, jnp.broadcast_to(values, (*x.shape[:-1], context))], axis=-1)

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        params = model.init(key, extended(fill_batch(episode.support).x, jnp.zeros(context)))
        check_task(learner, params, episode, loss_fn)
        return params

    def start(params: Params, key: Key, support: Batch, classes: Mask) -> Adapted:
        del key, support, classes
        # Of the parameters' precision.
        return jnp.zeros(context, jnp.result_type(*jax.tree.leaves(params)))

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return model.apply(params, extended(x, adapted), key=key, mask=mask)

    options = {"num_steps": num_steps, "adjoint": adjoint, "normalization": model.normalization}
    learner = gradient_based(init, start, predict, loss_fn, inner_optimizer, **options)
    return learner
