"""Soft parameter sharing: networks of their own, tied by a penalty.

Regularised multi-task learning, the sum of the losses and a penalty (Evgeniou and Pontil, 2004, KDD). Distances between towers as
in Duong, Cohn, Bird and Cook (2015, ACL); the trace norm as in Yang and Hospedales (2017, 1606.04038), equation 2.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jmeta._optimizers import penalize
from jmeta._sentences import kinds
from jmeta._types import EncoderHead, Params

Towers = Mapping[str, Params]


def soft_parameter_sharing(
    penalty: Callable[[Towers], jax.Array],
    strength: float | Callable[[jax.Array], Any],
    *,
    part: Callable[[EncoderHead], Params] = lambda own: own.encoder,
) -> optax.GradientTransformation:
    r"""Ties the towers of :func:`jmeta.multitask.independent_networks` by a penalty, :math:`\lambda R(\theta_1, \dots, \theta_K)`.

    It comes before the optimiser and after whatever weighs or combines losses:
    ``optax.chain(soft_parameter_sharing(distance_to_mean, 0.1), optax.adam(1e-3))``. Distances tie one tower alone to nothing.

    Args:
      penalty: ``{name: tower} -> scalar``, such as :func:`distance_to_mean`, :func:`distance_between`, :func:`trace_norm`, or
        one's own.
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.
      part: what of ``EncoderHead(own, head)`` of a task is a tower; the encoder by default. Heads of one shape may be tied as well.

    Raises:
      ValueError: from ``update``, if the parameters are not those of a multi-task model, or towers differ in structure.
    """

    def of_towers(params: Params) -> jax.Array:
        if not isinstance(params, EncoderHead) or not isinstance(params.head, Mapping):
            raise ValueError(f"params must be those of a multi-task model; got {type(params).__name__}.")
        towers = {name: part(own) for name, own in params.head.items()}
        _check_alike(towers)
        return penalty(towers)

    return penalize(of_towers, strength)


def distance_between(towers: Towers) -> jax.Array:
    r"""Adds up the squared distances of all pairs, :math:`\sum_{i<j} \lVert \theta_i - \theta_j \rVert^2`."""
    pairs = itertools.combinations(towers.values(), 2)
    return sum((optax.tree.norm(optax.tree.sub(*pair), squared=True) for pair in pairs), jnp.zeros(()))


def distance_to_mean(towers: Towers) -> jax.Array:
    r"""Adds up the squared distances to the mean, :math:`\sum_k \lVert \theta_k - \bar\theta \rVert^2`.

    That is a K-th of :func:`distance_between`, and grows linearly with the number of tasks.
    """
    mean = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *towers.values())
    return sum((optax.tree.norm(optax.tree.sub(tower, mean), squared=True) for tower in towers.values()), jnp.zeros(()))


def trace_norm(towers: Towers) -> jax.Array:
    r"""Adds up, over all leaves, the singular values of the matrix whose rows are the tasks' weights (``LAF`` of the paper).

    Few directions in common are cheaper than many. Where a singular value is 0 the derivative is the subgradient of least norm,
    :math:`U V^\top` of the others; it has no second derivative.
    """
    leaves = jax.tree.leaves(jax.tree.map(lambda *leaves: jnp.stack([leaf.ravel() for leaf in leaves]), *towers.values()))
    return sum(map(nuclear_norm, leaves), jnp.zeros(()))


@jax.custom_jvp
def nuclear_norm(matrix: jax.Array) -> jax.Array:
    """Adds up the singular values of ``[m, n]``."""
    return jnp.linalg.norm(_wide(matrix), ord="nuc").astype(matrix.dtype)


@nuclear_norm.defjvp
def _nuclear_norm_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (matrix,), (tangent,) = primals, tangents
    left, values, right = jnp.linalg.svd(_wide(matrix), full_matrices=False)
    # What is below the resolution of the largest is rounding, whose directions are anything.
    kept = values > max(matrix.shape) * jnp.finfo(values.dtype).eps * values[0]
    slope = (left * kept[None]) @ right
    return values.sum().astype(matrix.dtype), (slope * tangent).sum().astype(matrix.dtype)


def _wide(matrix: jax.Array) -> jax.Array:
    return matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))


def _check_alike(towers: Towers) -> None:
    (first, like), *others = towers.items()
    for name, tower in others:
        same = jax.tree.structure(tower) == jax.tree.structure(like)
        if not same or any(a.shape != b.shape for a, b in zip(*map(jax.tree.leaves, (tower, like)), strict=True)):
            got = f"{kinds(tower)} of {name} and {kinds(like)} of {first}"
            raise ValueError(f"towers must have one structure to be tied; got {got}.")
