"""What most learners share: adapting by gradient steps from a start, and small helpers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adaptation import GradientDescent, InnerOptimizer, check_inner_optimizer, check_kind, gradient_descent
from jmeta._adjoints import Adjoint, unrolled
from jmeta._composition import split_key
from jmeta._options import check_counts
from jmeta._rows import count_rows, fill, fill_batch
from jmeta._scoring import query_loss, score
from jmeta._types import Adapted, Batch, Episode, Key, Learner, LossFn, Mask, Metrics, Model, Params, Predict

# (params, key, support, classes) -> a pytree; the key is None where models are deterministic.
FromSupport = Callable[[Params, Key, Batch, Mask], Any]


def gradient_based(
    init: Callable[[jax.Array, Episode], Params],
    start: FromSupport,
    predict: Predict,
    loss_fn: LossFn,
    inner_optimizer: InnerOptimizer,
    *,
    num_steps: int,
    adjoint: Adjoint | None = None,
    encode: Callable[..., Any] | None = None,
    rule: FromSupport | None = None,
    support_loss_fn: Callable[[Params], LossFn] | None = None,
    batch_size: int | None = None,
    normalization: str = "not stated",
) -> Learner:
    """Builds a learner that adapts by gradient steps on the loss of what it predicts of the support.

    ::

        adapted = start(params, support)
        num_steps times: adapted = adapted + inner_optimizer(grad of loss_fn(predict(params, adapted, support.x), support.y))

    Args:
      init: ``(key, episode) -> params``.
      start: ``(params, key, support, classes) -> initial``, what adapts; it may depend on the support.
      predict: ``(params, adapted, x, *, key=None, mask=None) -> outputs``.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      inner_optimizer: any optax transformation; with ``rule``, a function from a rule to one.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.
      encode: ``(params, x, *, key=None, mask=None) -> features``, what of a prediction does not depend on what adapts: ``predict``
        is then given features, and those of the support are computed once for all steps.
      rule: ``(params, key, support, classes) -> rule``, the meta-parameters of the inner optimiser.
      support_loss_fn: ``params -> loss_fn`` for the support, where the inner objective is learnt too.
      batch_size: rows drawn without replacement for each inner step; None takes all rows.
      normalization: what the model's activations are normalised with, for reports.

    Raises:
      ValueError: if ``num_steps`` is negative, ``batch_size`` below 1, ``rule`` and ``inner_optimizer`` do not fit each other, or a
        rule would get no gradient because the adjoint is implicit; from ``init``, if the inner optimiser is not differentiable at a
        zero gradient though the adjoint differentiates it.
    """
    adjoint = adjoint or unrolled()
    check_counts(0, num_steps=num_steps)
    check_counts(batch_size=batch_size)
    check_kind(inner_optimizer, has_rule=rule is not None)
    if rule is not None and adjoint.implicit is not None:
        raise ValueError(
            "adjoint must be unrolled() or first_order() for a learner that learns its rule, on which the point that a descent "
            "ends at does not depend; got implicit()."
        )

    def checked_init(key: jax.Array, episode: Episode) -> Params:
        params, support = init(key, episode), fill_batch(episode.support)

        def first(params: Params) -> tuple[Adapted, Any]:
            made = None if rule is None else rule(params, None, support, episode.classes)
            return start(params, None, support, episode.classes), made

        shapes = jax.eval_shape(first, params)
        if num_steps and adjoint.differentiates_updates:
            check_inner_optimizer(inner_optimizer, *shapes)
        return params

    def begin(params: Params, key: jax.Array, support: Batch, classes: Mask, training: bool) -> tuple[GradientDescent, Any]:
        """Gives the descent of one task, and what it is given: the start, a key, the rows, the rule."""
        support, (start_key, encode_key, steps_key) = fill_batch(support), jax.random.split(key, 3)
        start_key, encode_key = (start_key, encode_key) if training else (None, None)

        def support_loss(adapted: Adapted, key: jax.Array, rows: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
            del step
            draw_key, predict_key = jax.random.split(key)
            rows = rows if batch_size is None else _draw(draw_key, rows, batch_size)
            outputs = predict(params, adapted, rows.x, key=predict_key if training else None, mask=rows.mask)
            return score(loss_fn if support_loss_fn is None else support_loss_fn(params), outputs, rows, classes), {}

        initial = start(params, start_key, support, classes)
        made = None if rule is None else rule(params, start_key, support, classes)
        if encode is not None:
            support = support._replace(x=encode(params, support.x, key=encode_key, mask=support.mask))
        descent = gradient_descent(support_loss, inner_optimizer, num_steps, adjoint=adjoint)
        return descent, (initial, steps_key, support, made)

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        descent, given = begin(params, key, support, classes, training)
        return descent.run(*given)

    def path(
        params: Params, key: jax.Array, support: Batch, num_steps: int, *, classes: Mask = None, training: bool = False
    ) -> Adapted:
        descent, (initial, key, rows, made) = begin(params, key, support, classes, training)
        return descent.path(initial, key, rows, num_steps, made)

    def predict_rows(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        x = fill(x, mask)
        if encode is not None:
            encode_key, key = split_key(key)
            x = encode(params, x, key=encode_key, mask=mask)
        return predict(params, adapted, x, key=key, mask=mask)

    loss = query_loss(adapt, predict_rows, loss_fn)
    return Learner(checked_init, adapt, predict_rows, loss, path, normalization, num_steps)


def from_params(part: Callable[[Params], Any]) -> FromSupport:
    """Makes a start, or a rule, that is a part of the parameters, whatever the support."""

    def of_support(params: Params, key: Key, support: Batch, classes: Mask) -> Any:
        del key, support, classes
        return part(params)

    return of_support


def predict_with(model: Model) -> Predict:
    """Makes the predictions of a model whose parameters are what adapts."""

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        del params
        return model.apply(adapted, x, key=key, mask=mask)

    return predict


def _draw(key: jax.Array, batch: Batch, size: int) -> Batch:
    """Draws ``size`` real rows without replacement, all of them where there are fewer."""
    rows = count_rows(batch.x)
    ranks = jax.random.uniform(key, (rows,))
    ranks = ranks if batch.mask is None else jnp.where(batch.mask, ranks, -1)
    _, drawn = jax.lax.top_k(ranks, min(size, rows))
    return jax.tree.map(lambda leaf: leaf[drawn], batch)
