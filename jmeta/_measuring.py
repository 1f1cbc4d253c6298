"""Training steps that measure something on the way, such as how tasks stand to each other."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._steps import Step, TrainState, step_keys
from jmeta._types import Metrics

Measurement = Callable[..., jax.Array]


def measured(step: Step, measurements: Mapping[str, Measurement], *, every: int = 1) -> Step:
    """Adds to the metrics of a training step what is measured before it, on its parameters and data.

    In a step that is not measured these metrics are NaN, which stands for nothing: :func:`jmeta.fit` leaves it out of the mean over a
    chunk and does not spend its time. Where several seeds train at once, every step costs what a measured one does.

    Args:
      step: from :func:`jmeta.make_step`.
      measurements: by the name of their metric, ``(params, key, data, *, step) -> [...]`` numbers of any shape; the key is another
        than that of the objective.
      every: how many steps apart, from the first on; the affinities of a paper are measured every tenth.

    Raises:
      ValueError: if ``every`` is below 1, or from the step if a metric has a name that another has.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 step; got {every}.")

    def measuring(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(step_keys(state)[0], 0)

        def measure() -> Metrics:
            found = {name: function(state.params, key, data, step=state.step) for name, function in measurements.items()}
            return {name: jnp.asarray(value, jnp.promote_types(jnp.result_type(value), jnp.float32)) for name, value in found.items()}

        def skip() -> Metrics:
            return {name: jnp.full(value.shape, jnp.nan, value.dtype) for name, value in jax.eval_shape(measure).items()}

        found = jax.lax.cond(state.step % every == 0, measure, skip) if every > 1 else measure()
        state, metrics = step(state, data)
        if taken := sorted(set(found) & set(metrics)):
            raise ValueError(f"measurements must have names of their own; got {taken}, which the step has.")
        return state, metrics | found

    return measuring
