"""L2-SP: weight decay towards the starting point (Li, Grandvalet and Davoine, 2018, 1802.01483), equation 2."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._sentences import first_line
from jmeta._types import Params


def l2_sp(start: Any, *, new: float = 1.0) -> Callable[[Params], jax.Array]:
    r"""Measures how far parameters have gone from the pretrained ones, for :func:`jmeta.penalize`.

    .. math:: \frac{1}{2} \lVert w - w_0 \rVert^2 + \frac{\beta}{2} \lVert v \rVert^2

    for pretrained parameters :math:`w` and new ones :math:`v`, such as those of a head. The paper's :math:`\alpha` is the strength
    of the penalty: ``optax.chain(penalize(l2_sp(EncoderHead(pretrained.encoder, None)), 0.01), optax.sgd(0.01))``. Adam's steps do
    not know how strong a gradient is; a penalty is for SGD.

    >>> start = {"encoder": jnp.ones(1), "head": None}
    >>> float(l2_sp(start)({"encoder": jnp.array([3.0]), "head": jnp.array([[1.0]])}))
    2.5

    Args:
      start: the pretrained parameters, with None in the place of what is new.
      new: what the squares of new parameters count beside those of the distance; 1 as in the Transfer-Learning-Library.

    Raises:
      ValueError: if ``start`` holds no parameter; from the penalty, if it does not fit the parameters.
    """
    # A copy: training gives the buffers that it starts from away.
    start = jax.tree.map(jnp.array, start)
    if not jax.tree.leaves(start):
        raise ValueError("start must hold the pretrained parameters; got none.")

    def half_square(before: Any, now: Any) -> jax.Array:
        if before is None:
            return new / 2 * optax.tree.norm(now, squared=True)
        if jnp.shape(now) != before.shape:
            raise ValueError(f"shapes {before.shape} and {jnp.shape(now)}")
        return jnp.square(now - before).sum() / 2

    def penalty(params: Params) -> jax.Array:
        try:
            parts = jax.tree.map(half_square, start, params, is_leaf=lambda leaf: leaf is None)
        except (TypeError, ValueError) as error:
            raise ValueError(f"start must fit the parameters, None for what is new; got {first_line(error)}.") from error
        return sum(jax.tree.leaves(parts), jnp.zeros(()))

    return penalty
