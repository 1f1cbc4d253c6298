"""Fisher merging (Matena and Raffel, 2021, 2111.09832), sections 3.2 and 3.3."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model, check_positive
from jmeta._rows import count_rows
from jmeta._sentences import kinds
from jmeta._types import Model, Params
from jmeta.transfer._merging import along, per_model, side_by_side, typed_like


def fisher_merging(
    models: Sequence[Params], information: Sequence[Params], weights: Sequence[float] | None = None, *, floor: float = 1e-6
) -> Params:
    r"""Averages fine-tuned networks, each parameter by how much it matters to each.

    .. math:: \theta = \frac{\sum_i w_i F_i \theta_i}{\sum_i w_i F_i}

    Args:
      models: parameter trees of one structure.
      information: for each model the diagonal of its Fisher information, a tree like its parameters, such as
        :func:`fisher_information`.
      weights: what each counts; all alike by default.
      floor: the least information, so that what matters to nobody is averaged.

    Raises:
      ValueError: if the trees differ in structure or shapes, there is not one tree of information or one weight of at least 0 for
        each, or ``floor`` is not positive.
    """
    check_positive(floor=floor)
    many, matters = side_by_side(models), side_by_side(information, name="information", like=models[0])
    if len(information) != len(models):
        raise ValueError(f"information must be that of each of {len(models)} models; got {len(information)}.")
    counts = per_model("weights", weights, len(models))

    def mean(leaf: jax.Array, fisher: jax.Array) -> jax.Array:
        shares = along(counts, leaf) * jnp.maximum(fisher, floor)
        return (shares * leaf).sum(axis=0) / shares.sum(axis=0)

    return typed_like(models[0], jax.tree.map(mean, many, matters))


def fisher_information(model: Model, params: Params, x: Any) -> Params:
    r"""Computes the diagonal of the Fisher information of a classifier, a tree like its parameters.

    .. math:: \frac{1}{n} \sum_x \sum_y p(y \mid x) \left(\nabla \log p(y \mid x)\right)^2

    It asks for no labels. One example after another; their gradients, one for each class, are held at once.

    Args:
      model: whose outputs are logits ``[n, classes]``; it is deterministic.
      params: its parameters.
      x: examples, leaves ``[n, ...]``; 256 are usual.

    Raises:
      ValueError: if ``model`` is no model, or its outputs are no logits.
    """
    check_model("model", model)
    return _information(model)(params, x)


@functools.lru_cache(maxsize=16)
def _information(model: Model) -> Any:
    def log_likelihoods(params: Params, row: Any) -> jax.Array:
        logits = model.apply(params, jax.tree.map(lambda leaf: leaf[None], row))
        if getattr(logits, "ndim", 0) != 2:
            raise ValueError(f"model must give logits [n, classes]; got {kinds(logits)}.")
        return jax.nn.log_softmax(logits[0])

    def of_one(params: Params, row: Any) -> Params:
        shares = jnp.exp(log_likelihoods(params, row))
        slopes = jax.jacrev(log_likelihoods)(params, row)
        return jax.tree.map(lambda leaf: jnp.tensordot(shares.astype(leaf.dtype), jnp.square(leaf), 1), slopes)

    def of_all(params: Params, x: Any) -> Params:
        def add(total: Params, row: Any) -> tuple[Params, None]:
            return jax.tree.map(jnp.add, total, of_one(params, row)), None

        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), x)
        return jax.tree.map(lambda leaf: leaf / count_rows(x), total)

    return jax.jit(of_all)
