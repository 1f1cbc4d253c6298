"""Training steps that measure something on the way, such as how tasks stand to each other."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._steps import Step, TrainState, objective_keys
from jmeta._types import Metrics

Measurement = Callable[..., jax.Array]


def with_measurements(step: Step, measurements: Mapping[str, Measurement], *, every: int = 1) -> Step:
    """Adds to the metrics of a training step what is measured just before it, on its parameters, its data and its key.

    A measurement only looks: the training is the same without it. In a step that is not measured its metric is NaN, which stands
    for nothing: :func:`jmeta.fit` leaves it out of the mean over a chunk, and the time of measuring is saved. Where several seeds
    train at once, every step costs what a measured one does.

    Args:
      step: from :func:`jmeta.make_step`.
      measurements: by the name of their metric, ``(params, key, data, *, step) -> [...]`` numbers, an array of any shape: such as
        :func:`jmeta.task_affinity` and :func:`jmeta.gradient_cosines`.
      every: how many steps apart, from the first on.

    Raises:
      ValueError: if ``every`` is below 1, or from the step if a metric of it has the name of a measurement.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 step; got {every}.")

    def measured(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        key = objective_keys(state)[0]

        def measure() -> Metrics:
            found = {name: function(state.params, key, data, step=state.step) for name, function in measurements.items()}
            return {name: value.astype(jnp.promote_types(value.dtype, jnp.float32)) for name, value in found.items()}

        def skip() -> Metrics:
            return {name: jnp.full(value.shape, jnp.nan, value.dtype) for name, value in jax.eval_shape(measure).items()}

        found = measure() if every == 1 else jax.lax.cond(state.step % every == 0, measure, skip)
        after, metrics = step(state, data)
        if taken := sorted(found.keys() & metrics.keys()):
            raise ValueError(f"measurements must have names of their own; got {taken}, which the step has.")
        return after, metrics | found

    return measured
