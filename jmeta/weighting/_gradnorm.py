"""GradNorm (Chen, Badrinarayanan, Lee and Rabinovich, 2018, 1711.02257), algorithm 1."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._named import count_of
from jmeta._presence import keep_absent, mean_of_present
from jmeta._types import Params, Tasks, Weighting

# No weight falls below it before all are scaled: the paper does not say what becomes of one that its optimiser makes negative.
LEAST = 1e-3
# The square of a norm, which Adam keeps, has to be finite in float32.
STEEPEST = 1e18


class GradNormState(NamedTuple):
    """Attributes: ``weights [tasks]``, the ``first_losses [tasks]`` or 0, and the state of the optimiser of the weights."""

    weights: jax.Array
    first_losses: jax.Array
    optimizer_state: optax.OptState


def gradnorm(
    optimizer: optax.GradientTransformation, last_shared: Callable[[Params], Any], *, restoring_force: float = 1.5
) -> Weighting:
    r"""Learns weights with which the gradients of the tasks have norms that keep pace with how far each task still has to go.

    .. math:: \min_w \sum_k \bigl| G_k - \bar G r_k^\alpha \bigr|, \qquad G_k = \lVert \nabla_W w_k L_k \rVert, \qquad
        r_k = \frac{L_k / L_k(0)}{\mathrm{mean}_i\, L_i / L_i(0)}

    with :math:`\bar G` the mean norm, and the targets taken for constants. After each step of the optimiser the weights are scaled
    to sum to the number of tasks. In a compiled step only what lies between W and the losses is differentiated for each task, and
    what lies before it once. A task that is absent from a batch keeps its weight, and the others share what it leaves.

    Weights stay at 0.001 or above before the scaling, where the paper leaves that open; LibMTL learns the logarithms of the weights
    and compares with the mean losses of the first epoch. The first positive loss of a task is its :math:`L_k(0)`; without one, its
    rate counts as 1.

    >>> weighting = gradnorm(optax.adam(0.025), lambda gradient: gradient.encoder["layers_2"])

    Args:
      optimizer: for the weights, which begin at 1.
      last_shared: from the gradient to the part of it that belongs to W, the last layer that all tasks share.
      restoring_force: :math:`\alpha`, how strongly slow tasks are favoured; 0 makes all norms alike.

    Raises:
      ValueError: from the step, if ``last_shared`` gives no part of the gradient.
    """

    def init(tasks: Tasks) -> GradNormState:
        ones = jnp.ones(count_of(tasks))
        # An optimiser for each task, so that an absent one stands still in every respect.
        return GradNormState(ones, jnp.zeros_like(ones), jax.vmap(optimizer.init)(ones))

    def weigh(
        state: GradNormState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Callable[[jax.Array], Params]
    ) -> tuple[jax.Array, Any]:
        del key
        dtype = state.weights.dtype
        losses = losses.astype(dtype)
        norms = jax.vmap(lambda one: _norm(last_shared(pullback(one)), dtype))(jnp.eye(len(losses), dtype=dtype))
        first = jnp.where(state.first_losses > 0, state.first_losses, losses)
        lengths = state.weights * norms
        targets = mean_of_present(lengths, present) * _relative_rates(losses, first, present) ** restoring_force
        gradient = jnp.sign(lengths - targets) * norms
        updates, optimizer_state = jax.vmap(optimizer.update)(gradient, state.optimizer_state, state.weights)
        weights = jnp.maximum(jnp.asarray(optax.apply_updates(state.weights, updates)), LEAST)
        left = len(losses) - jnp.where(present, 0, state.weights).sum()
        weights *= left / jnp.where(present, weights, 0).sum()
        return state.weights, keep_absent(present, GradNormState(weights, first, optimizer_state), state)

    return Weighting(init, weigh)


def _relative_rates(losses: jax.Array, first: jax.Array, present: jax.Array) -> jax.Array:
    """Divides ``losses / first`` by its mean, in logarithms: neither quotient leaves the range of numbers."""
    least = jnp.finfo(losses.dtype).tiny
    logs = jnp.log(jnp.maximum(losses, least)) - jnp.log(jnp.maximum(first, least))
    return present.sum() * jax.nn.softmax(logs, where=present)


def _norm(part: Any, dtype: Any) -> jax.Array:
    if not jax.tree.leaves(part):
        raise ValueError(f"last_shared must give a part of the gradient; got {part!r}, which holds no array.")
    wide = jax.tree.map(lambda leaf: leaf.astype(dtype), part)
    return jnp.minimum(optax.tree.norm(wide), STEEPEST)
