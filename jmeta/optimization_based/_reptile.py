"""Reptile (Nichol, Achiam and Schulman, 2018, 1803.02999), algorithm 2, batched.

The parameters move *towards* the adapted ones: with ``optax.sgd(e)`` outside, ``theta + e * mean(adapted - theta)``.
"""

import jax
import jax.numpy as jnp
import optax

from jmeta._adaptation import first_order, gradient_descent
from jmeta._objectives import score
from jmeta._types import Adapted, Batch, Episode, Learner, LossFn, Metrics, Model, Params
from jmeta._validation import check_rows, checked_init


def reptile(
    model: Model,
    loss_fn: LossFn,
    inner_optimizer: optax.GradientTransformation,
    *,
    num_steps: int = 5,
    batch_size: int | None = None,
) -> Learner:
    r"""Learns initial parameters that are close to every task's adapted ones; no second derivatives.

    The loss is :math:`|\theta - \mathrm{sg}(\phi)|^2 / 2`, whose gradient is the paper's :math:`\theta - \phi`. Training adapts on
    support and query together, as the paper does; testing on the support alone.

    Args:
      model: the network; all of its parameters are adapted.
      loss_fn: ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``.
      inner_optimizer: any optax transformation; the paper has Adam with ``b1=0``.
      num_steps: the number of inner steps in training.
      batch_size: rows drawn without replacement for each inner step; None takes all rows.

    Raises:
      ValueError: if ``num_steps`` is negative or ``batch_size`` below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")

    def init(key: jax.Array, episode: Episode) -> Params:
        return checked_init(model, key, episode)

    def task_loss(
        adapted: Adapted, key: jax.Array, data: tuple[Batch, jax.Array | None], *, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Metrics]:
        del step
        (batch, classes), (draw_key, apply_key) = data, jax.random.split(key)
        batch = batch if batch_size is None else _draw(draw_key, batch, batch_size)
        outputs = model.apply(adapted, batch.x, key=apply_key, mask=batch.mask)
        return score(loss_fn, outputs, batch, classes), {}

    descent = gradient_descent(task_loss, inner_optimizer, num_steps, adjoint=first_order())

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

    def loss(params: Params, key: jax.Array, episode: Episode, *, step: jax.Array | int = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("support", episode.support)
        check_rows("query", episode.query)
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), *map(_with_mask, episode[:2]))
        adapted = jax.lax.stop_gradient(adapt(params, key, rows, classes=episode.classes))
        outputs = model.apply(adapted, rows.x, mask=rows.mask)
        distance = optax.tree.norm(optax.tree.sub(params, adapted), squared=True) / 2
        return distance, {"loss": score(loss_fn, outputs, rows, episode.classes), "distance": distance}

    return Learner(init, adapt, predict, loss, path, model.normalization)


def _with_mask(batch: Batch) -> Batch:
    return batch if batch.mask is not None else batch._replace(mask=jnp.ones(len(batch.y), bool))


def _draw(key: jax.Array, batch: Batch, size: int) -> Batch:
    """Draws ``size`` real rows without replacement, all of them where there are fewer."""
    ranks = jax.random.uniform(key, (len(batch.y),))
    ranks = ranks if batch.mask is None else jnp.where(batch.mask, ranks, -1)
    _, rows = jax.lax.top_k(ranks, min(size, len(batch.y)))
    return jax.tree.map(lambda leaf: leaf[rows], batch)
