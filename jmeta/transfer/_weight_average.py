"""Model soups: averages of fine-tuned networks (Wortsman et al., 2022, 2203.05482), section 2."""

from collections.abc import Sequence

import jax

from jmeta._types import Params
from jmeta.transfer._merging import along, per_model, side_by_side, typed_like


def weight_average(models: Sequence[Params], weights: Sequence[float] | None = None) -> Params:
    r"""Averages networks that were fine-tuned from one: :math:`\sum_i w_i \theta_i / \sum_i w_i`.

    >>> import jax.numpy as jnp
    >>> weight_average([{"kernel": jnp.array([1.0])}, {"kernel": jnp.array([4.0])}], [2, 1])["kernel"].tolist()
    [2.0]

    Args:
      models: parameter trees of one structure.
      weights: what each counts; all alike by default.

    Raises:
      ValueError: if the trees differ in structure or shapes, or there is not one weight of at least 0 for each.
    """
    many = side_by_side(models)
    counts = per_model("weights", weights, len(models))
    counts /= counts.sum()
    return typed_like(models[0], jax.tree.map(lambda leaf: (along(counts, leaf) * leaf).sum(axis=0), many))
