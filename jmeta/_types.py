"""The vocabulary: what every other module takes and returns."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax

Params = Any  # A pytree of arrays.
Adapted = Any  # A pytree of arrays that belongs to one task.
Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """Labelled examples of one task.

    Attributes:
      x: ``[n, ...]`` inputs.
      y: ``[n, ...]`` targets; integers for classification.
      mask: ``[n]`` booleans, true for the real rows of a padded task; None means that all are real.
    """

    x: jax.Array
    y: jax.Array
    mask: jax.Array | None = None


class Episode(NamedTuple):
    """One task: examples to adapt on and examples to be judged on.

    Attributes:
      support: what the learner adapts on.
      query: what the adapted learner is judged on.
      classes: ``[ways]`` booleans, true for the real classes of a padded task; None means that all are real.
    """

    support: Batch
    query: Batch
    classes: jax.Array | None = None


class LossFn(Protocol):
    """Maps ``[n, ...]`` outputs and ``[n, ...]`` targets to ``[n, ...]`` losses, one row per example."""

    def __call__(self, outputs: jax.Array, targets: jax.Array, /) -> jax.Array: ...


class Initialize(Protocol):
    """Makes parameters from a key and an example input ``x [n, ...]``."""

    def __call__(self, key: jax.Array, x: Any, /) -> Params: ...


class Apply(Protocol):
    """Computes the outputs for ``x [n, ...]``; with a key in training mode, without one deterministically."""

    def __call__(self, params: Params, x: Any, /, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any: ...


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``(key, x) -> params``.
      apply: ``(params, x, *, key=None, mask=None) -> outputs``. Whatever mixes rows honours the mask.
      normalization: what the activations are normalised with, for reports.
    """

    init: Initialize
    apply: Apply
    normalization: str = "not stated"


class EncoderHead(NamedTuple):
    """A shared encoder and a task head: of models, of parameters, of labels."""

    encoder: Any
    head: Any


class Objective(Protocol):
    """Anything that can be trained: a pure function to a scalar loss and its metrics.

    ``step`` is the traced count of training steps (of inner steps for an inner objective), for schedules.
    """

    def __call__(self, params: Params, key: jax.Array, data: Any, /, *, step: Any = 0) -> tuple[jax.Array, Metrics]: ...


class Adapt(Protocol):
    """Makes from the support examples of one task what belongs to that task."""

    def __call__(self, params: Params, key: jax.Array, support: Batch, /, *, classes: jax.Array | None = None) -> Adapted: ...


class Predict(Protocol):
    """Computes the outputs ``[n, ...]`` of an adapted learner for ``x [n, ...]``."""

    def __call__(
        self,
        params: Params,
        adapted: Adapted,
        x: jax.Array,
        /,
        *,
        key: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array: ...


class Path(Protocol):
    """Gives every ``adapted`` along ``num_steps`` adaptation steps, with a leading ``[num_steps + 1]`` axis."""

    def __call__(
        self, params: Params, key: jax.Array, support: Batch, num_steps: int, /, *, classes: jax.Array | None = None
    ) -> Adapted: ...


class Learner(NamedTuple):
    """A meta-learning algorithm as pure functions of one task.

    Attributes:
      init: ``(key, episode) -> params``.
      adapt: ``(params, key, support, *, classes=None) -> adapted``.
      predict: ``(params, adapted, x, *, key=None, mask=None) -> outputs``.
      loss: ``(params, key, episode, *, step=0) -> (scalar, metrics)``.
      path: where adapting is iterative, ``(params, key, support, num_steps, *, classes=None)`` to every ``adapted``
        along the way.
      normalization: what the model's activations are normalised with, for reports.
    """

    init: Callable[[jax.Array, Episode], Params]
    adapt: Adapt
    predict: Predict
    loss: Objective
    path: Path | None = None
    normalization: str = "not stated"


class Weighting(NamedTuple):
    """Weights for the losses of several tasks, at the price of one backward pass.

    Attributes:
      init: ``(num_tasks) -> state``.
      weigh: ``(state, losses [tasks], key) -> (weights [tasks], state)``.
      observe: where the losses after the step matter, ``(state, losses_after [tasks]) -> state``.
    """

    init: Callable[[int], Any]
    weigh: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
    observe: Callable[[Any, jax.Array], Any] | None = None


class Aggregation(NamedTuple):
    """An optimiser of task gradients.

    Attributes:
      init: ``(params) -> state``.
      update: ``(task_gradients, state, params, *, losses, key) -> (updates, state)``; incoming leaves ``[tasks, ...]``,
        outgoing ones shaped like the parameters.
    """

    init: Callable[[Params], Any]
    update: Callable[..., tuple[Params, Any]]


class Sampler(NamedTuple):
    """A source of tasks whose data lives on the device.

    Attributes:
      data: a pytree of arrays; it crosses ``jit`` as an argument, never as a closure.
      sample: ``(data, key) -> Episode``, or any other pytree.
    """

    data: Any
    sample: Callable[[Any, jax.Array], Any]


Objectives = Mapping[str, Objective]
