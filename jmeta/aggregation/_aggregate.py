"""From task gradients to an update: surgery on the shared part, sums on the heads, then the optimiser."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jmeta._named import check_state
from jmeta._presence import mean_of_present
from jmeta._types import Aggregation, Aggregator, EncoderHead, Params, Tasks


def aggregate(shared: Aggregator, optimizer: optax.GradientTransformation, *, own: Aggregator | None = None) -> Aggregation:
    """Combines the gradients of several tasks, then steps.

    Wrappers of optimisers that look at the shapes of gradients (``optax.MultiSteps``, ``optax.apply_if_finite``) go inside, around
    ``optimizer``: outside, gradients have an axis of tasks and updates have none. :func:`jmeta.trainable` goes outside, so that
    frozen parameters have no part in the surgery.

    Args:
      shared: the aggregator of what the tasks share.
      optimizer: what turns the combined gradient into an update; it is given ``value``, the mean loss, and ``grad`` where it asks.
      own: the aggregator of the heads, where parameters are an ``EncoderHead``; None treats all parameters as shared, as they are
        between the tasks of a meta-batch.

    Raises:
      ValueError: if ``own`` is given and the parameters have no heads, or an aggregator leaves the task axis in place.
    """
    if isinstance(shared, optax.GradientTransformation) or isinstance(own, optax.GradientTransformation):
        raise ValueError("shared and own must be aggregators, such as pcgrad(); got an optax transformation.")

    def part(tree: Any) -> tuple[Any, Any]:
        if own is None:
            return tree, None
        if not isinstance(tree, EncoderHead):
            raise ValueError(f"own needs parameters that are an EncoderHead; got {type(tree).__name__}: leave own=None.")
        return tree.encoder, tree.head

    def init(params: Params, tasks: Tasks) -> Any:
        part(params)
        return shared.init(tasks), None if own is None else own.init(tasks), optimizer.init(params)

    def update(
        gradients: Any,
        state: Any,
        params: Params,
        *,
        losses: jax.Array,
        present: jax.Array,
        key: jax.Array,
        pullback: Callable[[Any], Params] | None = None,
    ) -> tuple[Params, Any]:
        shared_state, own_state, optimizer_state = state
        for aggregator, known_state in ((shared, shared_state), (own, own_state)):
            if aggregator is not None:
                check_state(aggregator.init, known_state, len(losses))
        known = {"losses": losses, "present": present}
        shared_key, own_key = jax.random.split(key)
        encoder, head = part(gradients)
        combined, shared_state = shared.combine(encoder, shared_state, **known, key=shared_key)
        if own is not None:
            head, own_state = own.combine(head, own_state, **known, key=own_key)
            combined = EncoderHead(combined, head)
        if pullback is not None:
            if own is None:
                raise ValueError("own must be given to aggregate with gradients of features, for the heads: sum(); got None.")
            combined = EncoderHead(pullback(combined.encoder), combined.head)
        _check_shapes(combined, params)
        given = {"value": mean_of_present(losses, present), "grad": combined}
        updates, optimizer_state = optax.with_extra_args_support(optimizer).update(combined, optimizer_state, params, **given)
        return updates, (shared_state, own_state, optimizer_state)

    return Aggregation(init, update)


def _check_shapes(combined: Any, params: Params) -> None:
    for leaf, parameter in zip(jax.tree.leaves(combined), jax.tree.leaves(params), strict=True):
        if leaf.shape != parameter.shape:
            raise ValueError(
                f"an aggregator must remove the task axis; got a combined gradient {leaf.shape} for a parameter {parameter.shape}."
            )
