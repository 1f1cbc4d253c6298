"""The vocabulary: what every other module takes and returns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Params = Any  # A pytree of arrays.
Adapted = Any  # A pytree of arrays that belongs to one task.
Metrics = dict[str, jax.Array]
Key = jax.Array | None  # With one a model is in training mode, without one it is deterministic.
Mask = jax.Array | None  # Booleans, true for what is real: [n] rows or [ways] classes; None where all are.
Tasks = int | Sequence[str]  # How many tasks there are, or their names.
PRESENT = "present"  # The metric that says whether anything in a task counts.


class Batch(NamedTuple):
    """Labelled examples of one task.

    Attributes:
      x: inputs, a pytree of leaves ``[n, ...]``.
      y: targets, a pytree of leaves ``[n, ...]``; integers for classification; None where there are none.
      mask: ``[n]`` booleans, true for the real rows of a padded task; None means that all are real. What the others hold never
        matters.
      weights: what each target counts, ``[n, ...]`` like the first axes of the losses; 0 where it is absent. None weighs all
        alike.
    """

    x: Any
    y: Any
    mask: Mask = None
    weights: Any = None

    @property
    def real(self) -> jax.Array:
        """``[n]`` booleans, true for the real rows."""
        return jnp.ones(jax.tree.leaves(self.x)[0].shape[0], bool) if self.mask is None else self.mask


class Episode(NamedTuple):
    """One task: examples to adapt on and examples to be judged on.

    Attributes:
      support: what the learner adapts on.
      query: what the adapted learner is judged on.
      classes: ``[ways]`` booleans, true for the real classes; always there for a task with classes, all true without padding.
      task: the number of the task in its list or batch; a batch of tasks has ``[tasks]`` of them, which tells it from one task.
    """

    support: Batch
    query: Batch
    classes: Mask = None
    task: jax.Array | None = None


class LossFn(Protocol):
    """Maps outputs and targets, pytrees of leaves ``[n, ...]``, to ``[n, ...]`` losses, one row per example."""

    def __call__(self, outputs: Any, targets: Any, /) -> jax.Array: ...


class Initialize(Protocol):
    """Makes parameters from a key and an example input ``x [n, ...]``."""

    def __call__(self, key: jax.Array, x: Any, /) -> Params: ...


class Apply(Protocol):
    """Computes the outputs for ``x [n, ...]``; with a key in training mode, without one deterministically."""

    def __call__(self, params: Params, x: Any, /, *, key: Key = None, mask: Mask = None) -> Any: ...


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

    ``step`` is the traced count of training steps (of inner steps for an inner objective), for schedules. Where it may be that
    nothing in the data counts (every row masked, every weight 0), the loss is then 0 and the metric ``present``, a boolean, says
    so: such a task is left out of means, weightings and aggregators.
    """

    def __call__(self, params: Params, key: jax.Array, data: Any, /, *, step: Any = 0) -> tuple[jax.Array, Metrics]: ...


class LearnerLoss(Protocol):
    """The objective of a learner on one task; without ``training`` its models are deterministic, as in validation."""

    def __call__(
        self, params: Params, key: jax.Array, episode: Episode, /, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]: ...


class Adapt(Protocol):
    """Makes from the support examples of one task what belongs to that task.

    The key is for what adapting draws; models are in training mode where ``training`` is set.
    """

    def __call__(
        self, params: Params, key: jax.Array, support: Batch, /, *, classes: Mask = None, training: bool = False
    ) -> Adapted: ...


class Predict(Protocol):
    """Computes the outputs, leaves ``[n, ...]``, of an adapted learner for ``x``, leaves ``[n, ...]``."""

    def __call__(self, params: Params, adapted: Adapted, x: Any, /, *, key: Key = None, mask: Mask = None) -> Any: ...


class Path(Protocol):
    """Gives every ``adapted`` along ``num_steps`` adaptation steps, with a leading ``[num_steps + 1]`` axis."""

    def __call__(
        self,
        params: Params,
        key: jax.Array,
        support: Batch,
        num_steps: int,
        /,
        *,
        classes: Mask = None,
        training: bool = False,
    ) -> Adapted: ...


class Learner(NamedTuple):
    """A meta-learning algorithm as pure functions of one task.

    Attributes:
      init: ``(key, episode) -> params``.
      adapt: ``(params, key, support, *, classes=None, training=False) -> adapted``.
      predict: ``(params, adapted, x, *, key=None, mask=None) -> outputs``.
      loss: ``(params, key, episode, *, step=0, training=True) -> (scalar, metrics)``.
      path: where adapting is iterative, ``(params, key, support, num_steps, *, classes=None, training=False)`` to every
        ``adapted`` along the way.
      normalization: what the model's activations are normalised with, for reports.
      num_steps: how many steps ``adapt`` takes, where adapting is iterative.
    """

    init: Callable[[jax.Array, Episode], Params]
    adapt: Adapt
    predict: Predict
    loss: LearnerLoss
    path: Path | None = None
    normalization: str = "not stated"
    num_steps: int | None = None


class Weighting(NamedTuple):
    """Weights for the losses of several tasks, at the price of one backward pass.

    Attributes:
      init: ``(tasks) -> state``; ``tasks`` is their number, or their names in the order of the losses.
      weigh: ``(state, losses [tasks], *, present [tasks], key, pullback) -> (weights [tasks], state)``. An absent task has loss 0
        and no gradient and says nothing. ``pullback(weights)`` gives the gradient of the weighted sum.
      observe: where the losses after the step matter, ``(state, losses_after [tasks], *, present) -> state``.
    """

    init: Callable[[Tasks], Any]
    weigh: Callable[..., tuple[jax.Array, Any]]
    observe: Callable[..., Any] | None = None


class Aggregator(NamedTuple):
    """From the gradients of several tasks to one.

    Attributes:
      init: ``(tasks) -> state``; ``tasks`` is their number, or their names in the order of the gradients.
      combine: ``(gradients, state, *, losses [tasks], present [tasks], key) -> (gradient, state)``; incoming leaves
        ``[tasks, ...]``, outgoing ones without that axis. An absent task has a gradient of zeros and says nothing.
      weigh: where the gradient is a sum weighted by what the Gramian says, how the weights are made:
        ``(gramian [tasks, tasks], state, *, losses, present, key) -> (weights [tasks], state)``.
    """

    init: Callable[[Tasks], Any]
    combine: Callable[..., tuple[Params, Any]]
    weigh: Callable[..., tuple[jax.Array, Any]] | None = None


class Aggregation(NamedTuple):
    """An optimiser of task gradients.

    Attributes:
      init: ``(params, tasks) -> state``.
      update: ``(task_gradients, state, params, *, losses, present, key, pullback=None) -> (updates, state)``; incoming leaves
        ``[tasks, ...]``, outgoing ones shaped like the parameters. ``pullback`` takes a combined gradient of features to that of
        the shared parameters, where the tasks are compared by features.
    """

    init: Callable[[Params, Tasks], Any]
    update: Callable[..., tuple[Params, Any]]


class ObjectiveWithMemory(NamedTuple):
    """An objective that remembers across steps: centroids, a queue of features, a slow copy of the parameters.

    Attributes:
      init: ``(params, key) -> memory``, a pytree of arrays.
      loss: ``(params, key, data, memory, *, step=0) -> (scalar, (metrics, memory))``; the gradient is that for ``params`` alone.
    """

    init: Callable[[Params, jax.Array], Any]
    loss: Callable[..., tuple[jax.Array, tuple[Metrics, Any]]]


class Sampler(NamedTuple):
    """A source of tasks whose data lives on the device.

    Attributes:
      data: a pytree of arrays; it crosses ``jit`` as an argument, never as a closure.
      sample: ``(data, key) -> Episode``, or any other pytree.
      size: the number of tasks of a finite list; None where there is no end of them.
      at: of a finite list, ``(data, index, key) -> Episode``: the task of that number, the key for what is drawn of it.
    """

    data: Any
    sample: Callable[[Any, jax.Array], Any]
    size: int | None = None
    at: Callable[[Any, jax.Array, jax.Array], Any] | None = None


Objectives = Mapping[str, Objective]
