"""Checks for the author of a new algorithm: what every learner promises, and gradients against central differences."""

from typing import Any

import jax
import numpy as np

from jmeta import _promises as promises
from jmeta._trials import begin, flat
from jmeta._types import Learner, LossFn, Objective, Params, Sampler


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
