"""Reptile (Nichol, Achiam and Schulman, 2018, 1803.02999), algorithm 2, batched.

The parameters move *towards* the adapted ones: with ``optax.sgd(e)`` outside, ``theta + e * mean(adapted - theta)``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._adaptation import InnerOptimizer
from jmeta._adjoints import first_order
from jmeta._learners import from_params, gradient_based
from jmeta._options import check_model
from jmeta._paths import Select, chosen_part, merge
from jmeta._presence import with_presence
from jmeta._rows import fill_batch, presence
from jmeta._scoring import score
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Metrics, Model, Params
from jmeta._validation import check_one_task, checked_init


def reptile(
    model: Model,
    loss_fn: LossFn,
    inner_optimizer: InnerOptimizer,
    *,
    num_steps: int = 5,
    batch_size: int | None = None,
    adapts: Select | None = None,
) -> Learner:
    r"""Learns initial parameters that are close to every task's adapted ones; no second derivatives.

    The loss is :math:`|\theta - \mathrm{sg}(\phi)|^2 / 2`, whose gradient is the paper's :math:`\theta - \phi`. Training adapts on
    support and query together, as the paper does; testing and validation on the support alone, with the loss of the query.

    Args:
      model: the network.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      inner_optimizer: any optax transformation; the paper has Adam with ``b1=0``.
      num_steps: the number of inner steps in training.
      batch_size: rows drawn without replacement for each inner step; None takes all rows.
      adapts: which parameters move, as for :func:`jmeta.maml`; all by default. The others stay as they were initialised.

    Raises:
      ValueError: if ``model`` is no model, ``num_steps`` is negative or ``batch_size`` below 1; from ``init``, if ``adapts``
        chooses nothing.
    """
    check_model("model", model)

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(model, key, episode, loss_fn)

    def moving(params: Params) -> Adapted:
        return chosen_part(params, adapts, name="adapts")

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return model.apply(merge(adapted, params), x, key=key, mask=mask)

    learner = gradient_based(
        init,
        from_params(moving),
        predict,
        loss_fn,
        inner_optimizer,
        num_steps=num_steps,
        adjoint=first_order(),
        batch_size=batch_size,
        normalization=model.normalization,
    )

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        if not training:
            return learner.loss(params, key, episode, step=step, training=False)
        check_one_task(episode)
        rows = fill_batch(jax.tree.map(lambda *parts: jnp.concatenate(parts), *_alike(episode.support, episode.query)))
        adapted = jax.lax.stop_gradient(learner.adapt(params, key, rows, classes=episode.classes, training=True))
        outputs = learner.predict(jax.lax.stop_gradient(params), adapted, rows.x, mask=rows.mask)
        distance = optax.tree.norm(optax.tree.sub(moving(params), adapted), squared=True) / 2
        if (present := presence(rows)) is not None:
            # An inner optimiser that decays weights moves them without a row too.
            distance = jnp.where(present, distance, 0)
        value = score(loss_fn, outputs, rows, episode.classes)
        return distance, with_presence({"loss": value, "distance": distance}, rows)

    return learner._replace(loss=loss)


def _alike(*batches: Batch) -> list[Batch]:
    """Gives each batch the masks and weights that another one has."""
    masked = any(batch.mask is not None for batch in batches)
    batches = tuple(batch._replace(mask=batch.real) if masked else batch for batch in batches)
    weights = next((batch.weights for batch in batches if batch.weights is not None), None)
    if weights is None:
        return list(batches)

    def ones(batch: Batch) -> Any:
        rows = len(batch.real)
        return jax.tree.map(lambda leaf: jnp.ones((rows, *leaf.shape[1:]), leaf.dtype), weights)

    return [batch if batch.weights is not None else batch._replace(weights=ones(batch)) for batch in batches]
