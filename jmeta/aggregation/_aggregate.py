"""From task gradients to an update: surgery on the shared part, sums on the heads, then the optimiser."""

from typing import Any

import jax
import optax

from jmeta._types import Aggregation, EncoderHead, Params


def aggregate(
    shared: optax.GradientTransformationExtraArgs,
    optimizer: optax.GradientTransformation,
    *,
    own: optax.GradientTransformationExtraArgs | None = None,
) -> Aggregation:
    """Combines the gradients of several tasks, then steps.

    Args:
      shared: the aggregator of what the tasks share.
      optimizer: what turns the combined gradient into an update.
      own: the aggregator of the heads, where parameters are an ``EncoderHead``; None treats all parameters as shared, as they are
        between the tasks of a meta-batch.

    Raises:
      ValueError: if ``own`` is given and the parameters have no heads, or an aggregator leaves the task axis in place.
    """

    def part(tree: Any) -> tuple[Any, Any]:
        if own is None:
            return tree, None
        if not isinstance(tree, EncoderHead):
            raise ValueError(f"own needs parameters that are an EncoderHead; got {type(tree).__name__}: leave own=None.")
        return tree.encoder, tree.head

    def init(params: Params) -> Any:
        encoder, head = part(params)
        return shared.init(encoder), None if own is None else own.init(head), optimizer.init(params)

    def update(gradients: Any, state: Any, params: Params, *, losses: jax.Array, key: jax.Array) -> tuple[Params, Any]:
        shared_state, own_state, optimizer_state = state
        (encoder, head), (encoder_params, head_params) = part(gradients), part(params)
        combined, shared_state = shared.update(encoder, shared_state, encoder_params, losses=losses, key=key)
        if own is not None:
            head, own_state = own.update(head, own_state, head_params, losses=losses, key=key)
            combined = EncoderHead(combined, head)
        _check_shapes(combined, params)
        updates, optimizer_state = optimizer.update(combined, optimizer_state, params)
        return updates, (shared_state, own_state, optimizer_state)

    return Aggregation(init, update)


def _check_shapes(combined: Any, params: Params) -> None:
    for leaf, parameter in zip(jax.tree.leaves(combined), jax.tree.leaves(params), strict=True):
        if leaf.shape != parameter.shape:
            raise ValueError(
                f"an aggregator must remove the task axis; got a combined gradient {leaf.shape} for a parameter {parameter.shape}."
            )
