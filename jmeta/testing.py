"""Checks for authors of new algorithms: what learners, aggregators and multi-task models promise, and gradients by differences."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jmeta import _aggregator_promises as aggregator_promises
from jmeta import _multitask_promises as multitask_promises
from jmeta import _multitask_trials as multitask_trials
from jmeta import _promises as promises
from jmeta._aggregator_trials import Trial
from jmeta._trials import begin, flat
from jmeta._types import Aggregator, Learner, LossFn, Model, Objective, Params, Sampler
from jmeta.multitask import MultitaskModel, Task


def check_learner(
    learner: Learner,
    sampler: Sampler,
    loss_fn: LossFn,
    *,
    draws: str = "nothing",
    own_objective: bool = False,
    uses_support_order: bool = False,
    takes_masks: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Checks what every learner promises, on tasks of a sampler.

    - Shapes, and finite losses and gradients; a batch of tasks is refused.
    - Mapped tasks equal to a loop over them.
    - Keys that matter exactly where they should: outside training models are deterministic, and every inner step draws anew.
    - A loss that is ``loss_fn`` of what ``predict`` says of the query after ``adapt`` on the support, so that no label of the query
      is seen before it is judged; ``adapt`` and ``predict`` that depend on the task.
    - No dependence on the order of rows, on masked rows and what they hold (NaN, infinity, 1e6), on targets of weight 0, on the
      scale of the weights, and on classes that are not real, neither in values nor in gradients.
    - A ``path`` that passes through ``adapt``.

    Args:
      learner: the algorithm, with a tiny model.
      sampler: draws one episode; a few rows are enough, and for a learner of labels, classes.
      loss_fn: what the learner was made with.
      draws: when it draws random numbers: ``"nothing"``, in ``"training"`` alone (dropout), or ``"always"``, because adapting
        itself draws (mini-batches); of such a learner nothing is compared that draws differ in.
      own_objective: whether training minimises something else than the loss of the query (the distance of Reptile, a
        reconstruction besides); the metric ``loss`` outside training is still that of the query.
      uses_support_order: whether the learner reads the support as a sequence, in which a target is there or, of weight 0, is not.
      takes_masks: whether the model honours masks; False for a model that refuses them.
      tolerance: the largest difference between equal quantities, relative to one plus their norm.

    Raises:
      ValueError: for the first promise that is broken, or if ``draws`` is unknown.
    """
    if draws not in promises.DRAWS:
        raise ValueError(f"draws must be one of {', '.join(promises.DRAWS)}; got {draws!r}.")
    options = {"draws": draws, "own_objective": own_objective, "takes_masks": takes_masks, "tolerance": tolerance}
    trial = begin(learner, sampler, loss_fn, **options)
    # What compiles little comes first.
    promises.check_shapes(trial)
    promises.check_values(trial)
    promises.check_keys(trial)
    promises.check_dependence(trial)
    promises.check_masks(trial)
    promises.check_objective(trial)
    promises.check_classes(trial)
    promises.check_order(trial, support=not uses_support_order)
    promises.check_weights(trial, counted=not uses_support_order)
    promises.check_path(trial)
    promises.check_keys_of_steps(trial)
    promises.check_tasks(trial)


def check_aggregator(
    aggregator: Aggregator,
    *,
    draws: bool = False,
    own_length: bool = False,
    permutation_equivariant: bool = True,
    non_conflicting: bool = False,
    linear_under_scaling: bool = False,
    strongly_stationary: bool = False,
    tolerance: float = 1e-4,
) -> None:
    """Checks what every aggregator promises, and what is claimed of this one, over three steps with four tasks.

    - A gradient like that of one task, each leaf in its own type and rounded once, and a state that can be carried.
    - A pure function, the same whenever it is traced; where it weighs by the Gramian, ``weigh`` and ``combine`` say the same.
    - Finite results and states for gradients that are zero, equal, opposite, nearly so, of lengths from 1 to 10,000, very long and
      very short.
    - The gradient of a task that is alone, at least in direction.
    - Absent tasks that are as if they were not there, whose state stays; zeros where all are absent.
    - No dependence on how parameters are divided into leaves, nor on a key unless it draws.

    The names of the claims are those of Quinton and Rey (2024, 2406.16232) and of TorchJD. They hold in whatever state.

    Args:
      aggregator: of any number of tasks.
      draws: whether it draws random numbers; of such an aggregator what is the same for other tasks, orders or leaves is the mean
        over keys.
      own_length: whether the result has a length of its own, so that of a task that is alone it keeps the direction only.
      permutation_equivariant: whether it treats tasks alike, whatever their order.
      non_conflicting: whether its product with the gradient of every task is at least 0.
      linear_under_scaling: whether it is linear in positive factors of the gradients, one factor a task.
      strongly_stationary: whether it is 0 only where the gradients cancel under weights that are all positive.
      tolerance: the largest difference between equal quantities, relative to one plus their norm, and the largest conflict,
        relative to the lengths of the gradients.

    Raises:
      ValueError: for the first promise or claim that is broken.
    """
    trial = Trial(aggregator, draws, tolerance)
    aggregator_promises.check_shapes(trial)
    aggregator_promises.check_keys(trial)
    aggregator_promises.check_purity(trial)
    aggregator_promises.check_one_task(trial, own_length=own_length)
    aggregator_promises.check_absence(trial)
    aggregator_promises.check_finite(trial)
    aggregator_promises.check_leaves(trial)
    aggregator_promises.check_types(trial)
    claims = {
        aggregator_promises.check_order: permutation_equivariant,
        aggregator_promises.check_non_conflicting: non_conflicting,
        aggregator_promises.check_linear_under_scaling: linear_under_scaling,
        aggregator_promises.check_strongly_stationary: strongly_stationary,
    }
    for check, claimed in claims.items():
        if claimed:
            check(trial)


def check_multitask(
    build: Callable[[Model, dict[str, Task]], MultitaskModel],
    *,
    shape: tuple[int, ...] = (3,),
    draws: bool = False,
    own_objective: bool = False,
    shares_features: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Checks what every multi-task model promises, of two tasks: labels, and planes of numbers.

    - Names in alphabetical order; parameters ``EncoderHead(shared, {name: EncoderHead(own, head)})``, the same for one batch of all
      tasks and for batches of their own sizes, in which shared is what the losses of two tasks reach, own what that of one reaches.
    - Pure functions under jit and vmap, in the precision of parameters and inputs, that hand keys and masks on to their parts.
    - Objectives that are the losses of what ``predict`` says, each target by its weight; joint losses that are the objectives, with
      the same gradients, by way of the features too, and an encoder that runs once for all tasks.
    - No dependence on masked rows and what they hold (NaN, infinity, 1e6), nor on targets of weight 0, of whole rows or of single
      entries, neither in values nor in gradients; the same on the rows that count alone.
    - Absent tasks that are as if they were not there, and say so in the metrics; zeros, never NaN, where all are absent.
    - One task that is alone, and three.

    Whether gradients are those of the losses says :func:`check_gradient`.

    >>> from jmeta.multitask import hard_parameter_sharing
    >>> check_multitask(hard_parameter_sharing)
    >>> check_multitask(lambda encoder, tasks: hard_parameter_sharing(encoder, tasks)._replace(names=("kind", "area")))
    Traceback (most recent call last):
    ...
    ValueError: names must be those of the tasks and their objectives in alphabetical order, ['area', 'kind']; got ...

    Args:
      build: ``(encoder, tasks) -> model``, the way of sharing. The encoder is made here, ``[n, ..., channels] -> [n, ..., 4]``; one
        of its own may stand in its place. Heads flatten what they are given.
      shape: of one input, channels last.
      draws: whether the way of sharing itself draws random numbers in training; nothing is then compared that draws differ in.
      own_objective: whether training minimises more than the losses of what is predicted, such as a reconstruction besides.
      shares_features: whether anything is computed once for tasks that share their input; False for networks of their own, and
        for encoders that are told the task.
      tolerance: the largest difference between equal quantities, relative to one plus their norm.

    Raises:
      ValueError: for the first promise that is broken.
    """
    trial = multitask_trials.begin(build, shape, draws=draws, tolerance=tolerance)
    # What compiles nothing comes first.
    multitask_promises.check_names(trial)
    multitask_promises.check_init(trial)
    multitask_promises.check_shapes(trial)
    multitask_promises.check_types(trial)
    multitask_promises.check_parts(trial, shares_features=shares_features)
    made = multitask_trials.make(trial)
    multitask_promises.check_values(made)
    multitask_promises.check_keys(trial, made)
    multitask_promises.check_joint(trial, made)
    multitask_promises.check_padding(trial, made)
    multitask_promises.check_missing(trial, made)
    multitask_promises.check_absence(trial, made)
    multitask_promises.check_metrics(trial, made)
    multitask_promises.check_sharing(trial, made)
    multitask_promises.check_rows(trial, made, own_objective=own_objective)
    multitask_promises.check_numbers(trial)


def check_gradient(
    objective: Objective,
    params: Params,
    key: jax.Array,
    data: Any,
    *,
    directions: int = 3,
    distance: float = 1e-5,
    tolerance: float = 1e-6,
) -> None:
    r"""Compares the gradient of an objective with central differences along random directions, in float64.

    .. math:: 12 h f'(0) \approx f(-2h) - 8 f(-h) + 8 f(h) - f(2h)

    Args:
      objective: ``(params, key, data, *, step=0) -> (scalar, metrics)``, smooth around ``params``.
      params: float64 leaves; ``jax.config.update("jax_enable_x64", True)`` allows them.
      key: the objective's key, the same for all evaluations.
      data: the objective's data.
      directions: how many unit vectors are tried.
      distance: h; its error is of order h^4 from truncation and 1e-16 / h from rounding.
      tolerance: of the derivative along each direction, relative.

    Raises:
      ValueError: if ``params`` are not float64, or a derivative is further off than ``tolerance``.
    """
    params = jax.device_get(params)
    if other := sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params) if leaf.dtype != np.float64}):
        raise ValueError(f"params must be float64 to be compared with differences; got {', '.join(other)}.")
    value = jax.jit(lambda params: objective(params, key, data)[0])
    gradient = flat(jax.jit(jax.grad(lambda params: objective(params, key, data)[0]))(params))
    generator = np.random.default_rng(0)
    for _ in range(directions):
        direction = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), params)
        length = np.linalg.norm(flat(direction))

        def at(steps: int, direction: Params = direction, length: Any = length) -> float:
            return float(value(jax.tree.map(lambda leaf, change: leaf + steps * distance / length * change, params, direction)))

        expected = (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * distance)
        got = gradient @ flat(direction) / length
        if not abs(got - expected) <= tolerance * abs(expected):
            raise ValueError(
                f"objective must have the gradient of its differences along a direction; got {got}, expected {expected}."
            )
