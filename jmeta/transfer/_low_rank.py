"""Low-rank adapters: LoRA (Hu et al., 2021, 2106.09685), section 4.1.

The factor that the paper multiplies the product by is left to the step size. A tensor of more than two axes, such as a kernel of a
convolution, is a matrix of those of its axes that make the fewest numbers.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._options import check_counts, check_model
from jmeta._paths import Select, chosen, path_of
from jmeta._types import Key, Mask, Model, Params


class LowRank(NamedTuple):
    """The parameters of :func:`low_rank`.

    Attributes:
      base: the network's, which are constant.
      factors: a tree like them, with ``Factors`` for each tensor that is adapted and None for the others.
    """

    base: Params
    factors: Any


class Factors(NamedTuple):
    """What a tensor of ``m n`` numbers is moved by: ``left [m, rank]`` times ``right [rank, n]``."""

    left: jax.Array
    right: jax.Array


def low_rank(model: Model, rank: int, *, select: Select | None = None) -> Model:
    r"""Makes a model whose tensors move by a product of two thin ones alone.

    .. math:: W + A B, \quad A \in \mathbb{R}^{m \times r}, B \in \mathbb{R}^{r \times n}

    A starts random and B at 0, so that the network starts as it was. The base has no gradient; what decays weights must still be
    kept from it, by :func:`jmeta.trainable`, which saves its optimiser state too. The factors may be what a learner adapts.

    >>> import optax
    >>> import jmeta
    >>> from jmeta.nn import MultilayerPerceptron
    >>> adapters = low_rank(jmeta.from_linen(MultilayerPerceptron((40, 40, 1))), rank=2)
    >>> is_factor = lambda path: path.startswith("factors/")
    >>> optimizer = jmeta.trainable(optax.adamw(1e-3), is_factor)
    >>> learner = jmeta.maml(adapters, jmeta.squared_error, optax.sgd(0.01), adapts=is_factor)

    A pretrained network comes in by ``adapters.init(key, x)._replace(base=pretrained)``.

    Args:
      model: the network.
      rank: :math:`r`; of a tensor with fewer rows or columns, as many as these.
      select: which of the tensors with two axes or more are adapted, a predicate on paths of the network's parameters such as
        ``"Dense_0/kernel"``, or a prefix tree of booleans; all of them by default.

    Returns:
      A model of parameters :class:`LowRank`.

    Raises:
      ValueError: if ``model`` is no model or ``rank`` no whole number of at least 1; from ``init``, if no tensor is adapted.
    """
    check_model("model", model)
    check_counts(rank=rank)

    def init(key: jax.Array, x: Any) -> LowRank:
        base_key, factors_key = jax.random.split(key)
        base = model.init(base_key, x)
        marks = chosen(base, (lambda _: True) if select is None else select, name="select")
        if not any(mark and jnp.ndim(leaf) > 1 for leaf, mark in zip(*map(jax.tree.leaves, (base, marks)), strict=True)):
            raise ValueError("select must choose at least one tensor of two axes or more; got none.")
        keys = iter(jax.random.split(factors_key, len(jax.tree.leaves(base))))

        def factors(leaf: Any, mark: bool) -> Factors | None:
            own = next(keys)
            return _initial(own, leaf, rank) if mark and jnp.ndim(leaf) > 1 else None

        return LowRank(base, jax.tree.map(factors, base, marks))

    def apply(params: LowRank, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        weights = merge_low_rank(params._replace(base=jax.lax.stop_gradient(params.base)))
        return model.apply(weights, x, key=key, mask=mask)

    return Model(init, apply, model.normalization)


def merge_low_rank(params: LowRank) -> Params:
    """Adds the products to the base: parameters of the network itself, which cost nothing more to run.

    Raises:
      ValueError: if factors do not fit their tensor.
    """

    def moved(path: Any, leaf: Any, factors: Factors | None) -> Any:
        if factors is None:
            return leaf
        left, right = factors
        if left.shape[-1] != right.shape[0] or left.shape[0] * right.shape[1] != leaf.size:
            raise ValueError(f"factors must fit the tensor {path_of(path)} {leaf.shape}; got {left.shape} and {right.shape}.")
        return leaf + (left @ right).reshape(leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(moved, params.base, params.factors)


def _initial(key: jax.Array, leaf: Any, rank: int) -> Factors:
    splits = [(math.prod(leaf.shape[:at]), math.prod(leaf.shape[at:])) for at in range(1, leaf.ndim)]
    # Of equal ones the last, which leaves a kernel's channels to the right.
    rows, columns = min(reversed(splits), key=sum)
    rank = min(rank, rows, columns)
    left = jax.random.normal(key, (rows, rank), leaf.dtype) / math.sqrt(rows)
    return Factors(left, jnp.zeros((rank, columns), leaf.dtype))
