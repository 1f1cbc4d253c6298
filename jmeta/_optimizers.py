"""Optimisers of a part of the parameters, and penalties as optimisers: optax transformations around others."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from jmeta._paths import Select, chosen, merge, partition
from jmeta._precision import add_scaled
from jmeta._types import Aggregation, EncoderHead, Params

Optimizer = TypeVar("Optimizer", optax.GradientTransformation, Aggregation)


def trainable(optimizer: Optimizer, select: Select) -> Optimizer:
    """Trains the chosen parameters and freezes the rest: no gradient, no part in surgery, no state, not even weight decay.

    A frozen parameter stays bit for bit as it is. Its gradient, which nothing uses, is not computed in a compiled step. Put it
    outside: ``trainable(aggregate(pcgrad(), optax.adam(1e-3)), select)`` keeps frozen parameters out of the products of the
    surgery, ``aggregate(pcgrad(), trainable(...))`` does not.

    >>> import optax
    >>> params = {"encoder": jnp.ones(2), "head": jnp.ones(2)}
    >>> optimizer = trainable(optax.sgd(0.5), lambda path: path.startswith("head"))
    >>> optimizer.update(params, optimizer.init(params), params)[0]["head"].tolist()
    [-0.5, -0.5]

    Args:
      optimizer: any optax transformation, or :func:`jmeta.aggregate`.
      select: a predicate on paths such as ``"encoder/Dense_0/kernel"``, or a prefix of the parameters with booleans.

    Raises:
      ValueError: from ``init``, if nothing is chosen.
    """

    def parted(params: Params) -> tuple[Any, Params, Params]:
        marks = chosen(params, select, name="select")
        return marks, *partition(params, marks)

    def update(updates: Params, state: Any, params: Params = None, **given: Any) -> tuple[Params, Any]:
        marks, moving, frozen = parted(params)
        if "grad" in given:
            given["grad"] = partition(given["grad"], marks)[0]
        if value_fn := given.get("value_fn"):
            given["value_fn"] = lambda moving: value_fn(merge(moving, frozen))
        if back := given.get("pullback"):
            # Gradients of features, all of which the tasks share, and of heads; frozen is what lies before the features.
            given["pullback"] = lambda combined: partition(back(combined), marks.encoder)[0]
            chosen_updates = EncoderHead(updates.encoder, partition(updates.head, marks.head)[0])
        else:
            chosen_updates = partition(updates, marks)[0]
        updates, state = inner(chosen_updates, state, moving, **given)
        # Minus zero, which added to anything leaves every bit of it.
        return merge(updates, jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), frozen)), state

    if isinstance(optimizer, Aggregation):
        inner = optimizer.update
        return Aggregation(lambda params, tasks: optimizer.init(parted(params)[1], tasks), update)
    inner = optax.with_extra_args_support(optimizer).update
    return optax.GradientTransformationExtraArgs(lambda params: optimizer.init(parted(params)[1]), update)


def penalize(penalty: Callable[[Params], jax.Array], strength: float | Callable[[jax.Array], Any]) -> optax.GradientTransformation:
    r"""Adds the gradient of a penalty on the parameters, :math:`\lambda(t) \nabla R(\Theta)`, to the gradient.

    A penalty needs no data, so it comes after whatever weighs or combines losses: ``optax.chain(penalize(penalty, 0.1),
    optax.adam(1e-3))``. Sharing softly, staying near a pretrained network and orthogonality are such penalties.

    >>> optimizer = penalize(lambda params: jnp.square(params).sum() / 2, 0.5)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.zeros(1), optimizer.init(params), params)[0].tolist()
    [1.0]

    Args:
      penalty: ``params -> scalar``.
      strength: a factor, or a schedule of it: ``step -> factor``.

    Raises:
      ValueError: from ``update``, if it is not given the parameters.
    """

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Any]:
        if params is None:
            raise ValueError("params must be given to penalize(...).update; got None.")
        factor = strength(state) if callable(strength) else strength
        return add_scaled(updates, factor, jax.grad(penalty)(params)), optax.safe_increment(state)

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
