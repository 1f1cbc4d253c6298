"""Checks for the author of a new algorithm: what every learner promises, and gradients against central differences."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._objectives import over_tasks
from jmeta._types import Batch, Episode, Learner, Objective, Params, Sampler

TASKS = 3
PADDING = 2


def check_learner(
    learner: Learner,
    sampler: Sampler,
    *,
    num_steps: int | None = None,
    uses_key: bool = False,
    uses_support_order: bool = False,
    takes_masks: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Checks what every learner promises, on tasks of a sampler.

    Shapes; finite losses and gradients; one trace for all tasks and keys; mapped tasks equal to a loop over them; keys that
    matter exactly where they should; no dependence on the order of the query, of the support, or on padded rows; a ``path``
    that passes through ``adapt``.

    Args:
      learner: the algorithm, with a tiny model.
      sampler: draws one episode; a few rows are enough.
      num_steps: the number of training steps of an iterative learner, whose ``path`` must then reach ``adapt`` there.
      uses_key: whether training draws random numbers (dropout, mini-batches); the loss must change with the key exactly then.
      uses_support_order: whether the learner reads the support as a sequence.
      takes_masks: whether the model honours masks; False for a model that refuses them.
      tolerance: the largest difference between equal quantities, relative to one plus their norm.

    Raises:
      ValueError: for the first promise that is broken.
    """
    first, second = (jax.random.split(jax.random.key(seed), TASKS) for seed in (1, 2))
    sample = jax.jit(sampler.sample)
    episodes, others = ([jax.device_get(sample(sampler.data, key)) for key in keys] for keys in (first, second))
    params = jax.jit(learner.init)(jax.random.key(0), episodes[0])
    equal = functools.partial(_check_equal, tolerance=tolerance)
    jitted = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))

    def differentiate(key: jax.Array, episode: Episode) -> Any:
        return jax.device_get(jitted(params, key, episode, step=jnp.int32(3)))

    _check_loss(learner.loss, params, first[0], episodes[0])
    _check_result(differentiate(first[0], episodes[0]))
    _check_tasks(learner.loss, differentiate, params, episodes, others, equal)
    _check_predictions(learner, params, episodes[0], equal, order=not uses_support_order and not uses_key)
    _check_key(differentiate, episodes[0], uses_key=uses_key)
    if not uses_key:
        _check_rows(differentiate, episodes[0], equal, support=not uses_support_order, masks=takes_masks)
    if num_steps is not None:
        _check_path(learner, params, episodes[0].support, num_steps, equal)


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
    gradient = _flat(jax.jit(jax.grad(lambda params: objective(params, key, data)[0]))(params))
    generator = np.random.default_rng(0)
    for _ in range(directions):
        direction = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), params)
        length = np.linalg.norm(_flat(direction))
        along = [
            float(value(jax.tree.map(lambda leaf, change: leaf + steps * distance / length * change, params, direction)))  # noqa: B023
            for steps in (-2, -1, 1, 2)
        ]
        expected = (along[0] - 8 * along[1] + 8 * along[2] - along[3]) / (12 * distance)
        got = gradient @ _flat(direction) / length
        if not abs(got - expected) <= tolerance * abs(expected):
            raise ValueError(
                f"objective must have the gradient of its differences along a direction; got {got}, expected {expected}."
            )


def _check_loss(loss: Objective, params: Params, key: jax.Array, episode: Episode) -> None:
    value, metrics = jax.eval_shape(loss, params, key, episode)
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss must give a floating-point scalar; got {value.dtype}{list(value.shape)}.")
    if wrong := {name: leaf.shape for name, leaf in metrics.items() if leaf.shape}:
        raise ValueError(f"loss must give scalar metrics; got shapes {wrong}.")


def _check_result(result: Any) -> None:
    (loss, _), gradient = result
    if not np.isfinite(_flat((loss, gradient))).all():
        raise ValueError(f"loss must be finite and have a finite gradient; got a loss of {loss} and a gradient {gradient}.")
    if not _flat(gradient).any():
        raise ValueError("loss must depend on the parameters; got a gradient of zeros.")


def _check_tasks(
    loss: Objective, differentiate: Any, params: Params, episodes: list[Episode], others: list[Episode], equal: Any
) -> None:
    traces = []

    def counted(params: Params, key: jax.Array, episode: Episode, *, step: Any = 0) -> Any:
        traces.append(step)
        return loss(params, key, episode, step=step)

    mapped = jax.jit(jax.value_and_grad(over_tasks(counted), has_aux=True))
    batches = [jax.tree.map(lambda *leaves: np.stack(leaves), *group) for group in (episodes, others)]
    key = jax.random.key(3)
    (value, _), gradient = mapped(params, key, batches[0], step=jnp.int32(3))
    mapped(params, jax.random.key(4), batches[1], step=jnp.int32(4))
    if len(traces) != 1:
        raise ValueError(f"loss must be traced once for tasks and keys of the same shapes; got {len(traces)} traces.")
    each = [differentiate(key, episode) for key, episode in zip(jax.random.split(key, TASKS), episodes, strict=True)]
    looped = np.mean([_flat((value, gradient)) for (value, _), gradient in each], axis=0)
    equal((value, gradient), looped, "loss and gradient must be the same for mapped tasks and for a loop over them")


def _check_predictions(learner: Learner, params: Params, episode: Episode, equal: Any, *, order: bool) -> None:
    @jax.jit
    def outputs(params: Params, support: Batch, x: Any) -> tuple[Any, Any]:
        adapted = learner.adapt(params, jax.random.key(5), support, classes=episode.classes)
        return adapted, learner.predict(params, adapted, x)

    support, query = episode.support, episode.query
    adapted, predicted = jax.device_get(outputs(params, support, query.x))
    if predicted.shape[:1] != query.y.shape[:1]:
        raise ValueError(f"predict must give one row per example, [{len(query.y)}, ...]; got {list(predicted.shape)}.")
    if not np.isfinite(_flat((adapted, predicted))).all():
        raise ValueError("adapt and predict must give finite values; got NaN or infinity.")
    _, turned = outputs(params, support, query.x[::-1])
    equal(turned, predicted[::-1], "predict must treat the query rows alike, whatever their order")
    if order:
        _, turned = outputs(params, _reversed(support), query.x)
        equal(turned, predicted, "adapt must not depend on the order of the support, unless uses_support_order")


def _check_key(differentiate: Any, episode: Episode, *, uses_key: bool) -> None:
    first, again, other = (_flat(differentiate(jax.random.key(seed), episode)) for seed in (6, 6, 7))
    if not np.array_equal(first, again):
        raise ValueError("loss must be a pure function; got two results for one key.")
    if np.array_equal(first, other) is uses_key:
        found = "ignores it" if uses_key else "changes with it"
        raise ValueError(f"loss must use its key exactly where uses_key says so; got uses_key={uses_key} and a loss that {found}.")


def _check_rows(differentiate: Any, episode: Episode, equal: Any, *, support: bool, masks: bool) -> None:
    def result(episode: Episode) -> Any:
        (value, _), gradient = differentiate(jax.random.key(8), episode)
        return value, gradient

    expected = result(episode)
    equal(result(episode._replace(query=_reversed(episode.query))), expected, "loss must not depend on the order of the query")
    if support:
        turned = episode._replace(support=_reversed(episode.support))
        equal(result(turned), expected, "loss must not depend on the order of the support, unless uses_support_order")
    if masks:
        padded = episode._replace(support=_padded(episode.support), query=_padded(episode.query))
        equal(result(padded), expected, "loss must not depend on padded rows, unless takes_masks=False")


def _check_path(learner: Learner, params: Params, support: Batch, num_steps: int, equal: Any) -> None:
    if learner.path is None:
        raise ValueError(f"path must be given where num_steps is; got None and num_steps={num_steps}.")
    steps = num_steps + 1
    path = jax.device_get(jax.jit(learner.path, static_argnums=3)(params, jax.random.key(9), support, steps))
    if wrong := [leaf.shape for leaf in jax.tree.leaves(path) if leaf.shape[:1] != (steps + 1,)]:
        raise ValueError(f"path must have a leading axis of num_steps + 1 = {steps + 1}; got shapes {wrong}.")
    adapted = jax.jit(learner.adapt)(params, jax.random.key(9), support)
    equal(jax.tree.map(lambda leaf: leaf[num_steps], path), adapted, f"path must pass through adapt after {num_steps} steps")


def _check_equal(got: Any, expected: Any, promise: str, *, tolerance: float) -> None:
    difference, limit = np.linalg.norm(_flat(got) - _flat(expected)), tolerance * (1 + np.linalg.norm(_flat(expected)))
    if not difference <= limit:
        raise ValueError(f"{promise}; got a difference of {difference:.3g}, expected at most {limit:.3g}.")


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(jax.device_get(tree))])


def _reversed(batch: Batch) -> Batch:
    return jax.tree.map(lambda leaf: leaf[::-1], batch)


def _padded(batch: Batch) -> Batch:
    """Adds copies of real rows, which would count if the mask were ignored."""
    mask = np.ones(len(batch.y), bool) if batch.mask is None else batch.mask
    longer = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:PADDING]]), batch._replace(mask=mask))
    return longer._replace(mask=np.concatenate([mask, np.zeros(PADDING, bool)]))
