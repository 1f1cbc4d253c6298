"""One training step: from a batch of tasks to the next state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._gradients import value_and_gradient
from jmeta._types import Aggregation, Metrics, Params, Weighting


class TrainState(NamedTuple):
    """Everything that training changes, and the key that it is drawn from.

    ``key`` stays; the keys of a step are folded from it and ``step``, so a state is a complete place to go on from.
    """

    params: Params
    optimizer_state: Any
    weighting_state: Any
    key: jax.Array
    step: jax.Array


Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation | Aggregation,
    key: jax.Array,
    *,
    weighting: Weighting | None = None,
    num_tasks: int | None = None,
) -> TrainState:
    """Starts training at ``params``.

    Args:
      params: the initial parameters.
      optimizer: the one given to :func:`make_step`.
      key: what all randomness of the training is folded from.
      weighting: the one given to :func:`make_step`.
      num_tasks: how many losses the weighting sees.

    Raises:
      ValueError: if there is a weighting and no ``num_tasks``.
    """
    if weighting is not None and num_tasks is None:
        raise ValueError("num_tasks must be given with a weighting; got None.")
    weighting_state = () if weighting is None or num_tasks is None else weighting.init(num_tasks)
    return TrainState(params, optimizer.init(params), weighting_state, key, jnp.zeros((), jnp.int32))


def make_step(
    objective: Any,
    optimizer: optax.GradientTransformation | Aggregation,
    *,
    weighting: Weighting | None = None,
    micro_batch: int | None = None,
) -> Step:
    """Builds one pure training step ``(state, data) -> (state, metrics)``.

    Args:
      objective: a scalar objective such as ``over_tasks(learner.loss)`` or a ``mixture``; with a weighting, ``task_losses(...)``;
        with an aggregation, ``task_gradients(...)``.
      optimizer: any optax transformation, or ``aggregate(...)``.
      weighting: weighs the losses of the tasks, at the price of one backward pass.
      micro_batch: how many tasks run at once, for a scalar objective.

    Raises:
      ValueError: for a combination that has no meaning, and from the step for losses of the wrong shape.
    """
    aggregates = isinstance(optimizer, Aggregation)
    if weighting is not None and aggregates:
        raise ValueError("weighting and aggregate(...) exclude each other; got both, expected at most one.")
    if micro_batch is not None and (weighting is not None or aggregates):
        raise ValueError("micro_batch works on a scalar objective; got it with a weighting or an aggregation.")
    if aggregates:
        differentiate = _aggregated(objective)
    elif weighting is not None:
        differentiate = _weighted(objective, weighting)
    else:
        differentiate = _plain(value_and_gradient(objective, micro_batch=micro_batch))

    def step(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        objective_key, tasks_key = jax.random.split(step_keys(state)[0])
        metrics, gradient, weighting_state, extra = differentiate(state, objective_key, tasks_key, data)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        if weighting is not None and weighting.observe is not None:
            losses, _ = objective(params, objective_key, data, step=state.step)
            weighting_state = weighting.observe(weighting_state, losses)
        return TrainState(params, optimizer_state, weighting_state, state.key, state.step + 1), metrics

    return step


def _plain(differentiate: Callable[..., Any]) -> Callable[..., Any]:
    def plain(state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Any:
        del tasks_key
        (loss, metrics), gradient = differentiate(state.params, key, data, step=state.step)
        return {"loss": loss} | metrics, gradient, state.weighting_state, {}

    return plain


def _weighted(task_losses: Any, weighting: Weighting) -> Callable[..., Any]:
    def weighted(state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Any:
        losses, pullback, metrics = jax.vjp(
            lambda params: task_losses(params, key, data, step=state.step), state.params, has_aux=True
        )
        if losses.ndim != 1:
            raise ValueError(f"objective must give one loss per task with a weighting: task_losses(...); got shape {losses.shape}.")
        weights, weighting_state = weighting.weigh(state.weighting_state, losses, tasks_key)
        return {"loss": losses.mean()} | metrics, pullback(weights.astype(losses.dtype))[0], weighting_state, {}

    return weighted


def _aggregated(task_gradients: Any) -> Callable[..., Any]:
    def aggregated(state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Any:
        result = task_gradients(state.params, key, data, step=state.step)
        if not isinstance(result[0], tuple):
            raise ValueError("objective must be task_gradients(...) with aggregate(...); got one that gives a loss alone.")
        (losses, metrics), gradients = result
        return {"loss": losses.mean()} | metrics, gradients, state.weighting_state, {"losses": losses, "key": tasks_key}

    return aggregated


def step_keys(state: TrainState) -> jax.Array:
    """The keys of a step: for the objective, for the sampler."""
    return jax.random.split(jax.random.fold_in(state.key, state.step))
