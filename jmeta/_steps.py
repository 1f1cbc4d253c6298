"""One training step: from a batch of tasks to the next state."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._gradients import value_and_gradient
from jmeta._named import check_alike, check_state, count_of
from jmeta._objectives import gives_gradients
from jmeta._presence import mean_of_present
from jmeta._sentences import first_line
from jmeta._types import PRESENT, Aggregation, Metrics, ObjectiveWithMemory, Params, Tasks, Weighting


class TrainState(NamedTuple):
    """Everything that training changes, and the key that it is drawn from.

    ``key`` stays; the keys of a step are folded from it and ``step``, so a state is a complete place to go on from. ``memory`` is
    the state of a weighting, or what an objective remembers.
    """

    params: Params
    optimizer_state: Any
    memory: Any
    key: jax.Array
    step: jax.Array


class Found(NamedTuple):
    """What a step finds out before it moves.

    Attributes:
      metrics: with the loss.
      gradient: of the loss; of each task, where an aggregation combines them.
      memory: the next one.
      given: what the optimiser may ask for besides.
    """

    metrics: Metrics
    gradient: Params
    memory: Any
    given: dict[str, Any]


Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]
Differentiate = Callable[[TrainState, jax.Array, jax.Array, Any], Found]


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation | Aggregation,
    key: jax.Array,
    *,
    tasks: Tasks | None = None,
    weighting: Weighting | None = None,
    objective: ObjectiveWithMemory | None = None,
) -> TrainState:
    """Starts training at ``params``.

    Args:
      params: the initial parameters.
      optimizer: the one given to :func:`make_step`.
      key: what all randomness of the training is folded from.
      tasks: how many losses a weighting or gradients an aggregation sees, or the names of the tasks.
      weighting: the one given to :func:`make_step`.
      objective: the one given to :func:`make_step`, where it has a memory.

    Raises:
      ValueError: if there is a weighting or an aggregation and no ``tasks``, or both a weighting and a memory.
    """
    if weighting is not None and objective is not None:
        raise ValueError("weighting and an objective with a memory exclude each other; got both.")
    memory = () if objective is None else objective.init(params, jax.random.fold_in(key, 0))
    memory = memory if weighting is None else weighting.init(_counted(tasks))
    aggregates = isinstance(optimizer, Aggregation)
    optimizer_state = optimizer.init(params, _counted(tasks)) if aggregates else optimizer.init(params)
    return TrainState(params, optimizer_state, memory, key, jnp.zeros((), jnp.int32))


def make_step(
    objective: Any,
    optimizer: optax.GradientTransformation | Aggregation,
    *,
    weighting: Weighting | None = None,
    micro_batch: int | None = None,
) -> Step:
    """Builds one pure training step ``(state, data) -> (state, metrics)``.

    The optimiser is given ``value``, ``grad`` and ``value_fn`` where it asks for them, so that line searches and schedules by the
    loss work; behind an aggregation there is no ``value_fn``.

    Args:
      objective: a scalar objective such as ``over_tasks(learner.loss)`` or a ``mixture``, or one with a memory; with a weighting,
        ``task_losses(...)`` or joint losses; with an aggregation, ``task_gradients(...)`` or ``joint_gradients(...)``.
      optimizer: any optax transformation, or ``aggregate(...)``.
      weighting: weighs the losses of the tasks, at the price of one backward pass.
      micro_batch: how many tasks run at once, for a scalar objective.

    Raises:
      ValueError: for a combination that has no meaning, and from the step for losses of the wrong shape, a state of another number
        of tasks, or an optimiser that asks for more.
    """
    differentiate = _differentiate(objective, optimizer, weighting, micro_batch)
    update = _given_what_it_asks(optimizer)

    def step(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        objective_key, tasks_key = objective_keys(state)
        found = differentiate(state, objective_key, tasks_key, data)
        updates, optimizer_state = update(found.gradient, state.optimizer_state, state.params, **found.given)
        params, memory = optax.apply_updates(state.params, updates), found.memory
        if weighting is not None and weighting.observe is not None:
            losses, metrics = objective(params, objective_key, data, step=state.step)
            memory = weighting.observe(memory, losses, present=_present(metrics, losses))
        return TrainState(params, optimizer_state, memory, state.key, state.step + 1), found.metrics

    return step


def _counted(tasks: Tasks | None) -> Tasks:
    if tasks is None:
        raise ValueError("tasks must be given with a weighting or aggregate(...), their number or their names; got None.")
    count_of(tasks)
    return tasks


def _differentiate(objective: Any, optimizer: Any, weighting: Weighting | None, micro_batch: int | None) -> Differentiate:
    aggregates = isinstance(optimizer, Aggregation)
    remembers = isinstance(objective, ObjectiveWithMemory)
    if weighting is not None and aggregates:
        raise ValueError("weighting and aggregate(...) exclude each other; got both, expected at most one.")
    if micro_batch is not None and (weighting is not None or aggregates or remembers):
        raise ValueError("micro_batch works on a scalar objective; got it with a weighting, an aggregation or a memory.")
    if remembers and (weighting is not None or aggregates):
        raise ValueError("an objective with a memory gives one loss; got it with a weighting or an aggregation.")
    if gives_gradients(objective) and not aggregates:
        raise ValueError("optimizer must be aggregate(...) for task_gradients or joint_gradients; got one of a single gradient.")
    if remembers:
        return functools.partial(_remembering, objective)
    if aggregates:
        return functools.partial(_aggregated, objective)
    if weighting is not None:
        return functools.partial(_weighted, objective, weighting)
    return functools.partial(_plain, objective, value_and_gradient(objective, micro_batch=micro_batch))


def _plain(objective: Any, differentiate: Any, state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Found:
    del tasks_key
    (loss, metrics), gradient = differentiate(state.params, key, data, step=state.step)

    def value_fn(params: Params) -> jax.Array:
        return objective(params, key, data, step=state.step)[0]

    return Found({"loss": loss} | metrics, gradient, state.memory, _given(loss, gradient, value_fn))


def _remembering(objective: ObjectiveWithMemory, state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Found:
    del tasks_key

    def loss_fn(params: Params) -> tuple[jax.Array, tuple[Metrics, Any]]:
        return objective.loss(params, key, data, state.memory, step=state.step)

    (loss, (metrics, memory)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    check_alike(memory, state.memory, "an objective must give a memory of the shapes that its init gave")
    given = _given(loss, gradient, lambda params: loss_fn(params)[0])
    return Found({"loss": loss} | metrics, gradient, jax.lax.stop_gradient(memory), given)


def _weighted(task_losses: Any, weighting: Weighting, state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Found:
    def losses_of(params: Params) -> tuple[jax.Array, Metrics]:
        return task_losses(params, key, data, step=state.step)

    losses, pullback, metrics = jax.vjp(losses_of, state.params, has_aux=True)
    if losses.ndim != 1:
        raise ValueError(f"objective must give one loss per task with a weighting: task_losses(...); got shape {losses.shape}.")
    check_state(weighting.init, state.memory, len(losses))
    present = _present(metrics, losses)

    def pulled(weights: jax.Array) -> Params:
        return pullback(weights.astype(losses.dtype))[0]

    weights, memory = weighting.weigh(state.memory, losses, present=present, key=tasks_key, pullback=pulled)
    # Whatever the weighting says of an absent task, its loss and gradient are zeros.
    weights = jnp.where(present, weights, 0)
    gradient = pulled(weights)
    given = _given((weights * losses).sum(), gradient, lambda params: (weights * losses_of(params)[0]).sum())
    return Found(_of_step(losses, metrics), gradient, memory, given)


def _aggregated(task_gradients: Any, state: TrainState, key: jax.Array, tasks_key: jax.Array, data: Any) -> Found:
    result = task_gradients(state.params, key, data, step=state.step)
    if not isinstance(result[0], tuple):
        raise ValueError("objective must be task_gradients(...) with aggregate(...); got one that gives a loss alone.")
    (losses, metrics), gradients, *back = result
    given = {"losses": losses, "present": _present(metrics, losses), "key": tasks_key}
    given |= {"pullback": back[0]} if back else {}
    return Found(_of_step(losses, metrics), gradients, state.memory, given)


def _present(metrics: Metrics, losses: jax.Array) -> jax.Array:
    return metrics.get(PRESENT, jnp.ones(losses.shape, bool))


def _of_step(losses: jax.Array, metrics: Metrics) -> Metrics:
    """Says of the metrics of tasks what one step says: the mean loss, and whether any task was present."""
    present = metrics.get(PRESENT)
    found = {"loss": mean_of_present(losses, present)} | metrics
    return found if present is None else found | {PRESENT: present.any()}


def _given(value: jax.Array, gradient: Params, value_fn: Callable[[Params], jax.Array]) -> dict[str, Any]:
    return {"value": value, "grad": gradient, "value_fn": value_fn}


def _given_what_it_asks(optimizer: optax.GradientTransformation | Aggregation) -> Callable[..., tuple[Params, Any]]:
    update = optimizer.update if isinstance(optimizer, Aggregation) else optax.with_extra_args_support(optimizer).update

    def given(*arguments: Any, **given: Any) -> tuple[Params, Any]:
        try:
            return update(*arguments, **given)
        except TypeError as error:
            if "required" not in str(error):
                raise
            raise ValueError(
                f"optimizer must do with what a step has, {', '.join(given)}; got one that asks more: {first_line(error)}"
            ) from error

    return given


def step_keys(state: TrainState) -> jax.Array:
    """The keys of a step: for the objective, for the sampler."""
    return jax.random.split(jax.random.fold_in(state.key, state.step))


def objective_keys(state: TrainState) -> jax.Array:
    """The keys of a step by :func:`make_step`: for its objective, for what weighs or aggregates."""
    return jax.random.split(step_keys(state)[0])
