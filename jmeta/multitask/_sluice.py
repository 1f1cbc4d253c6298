"""Sluice networks (Ruder, Bingel, Augenstein and Søgaard, 2019, 1705.08142): towers that mix subspaces, and mixed depths."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import check_models
from jmeta._options import check_counts, check_share
from jmeta._sentences import shapes
from jmeta._types import EncoderHead, Key, Mask, Model, Params
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model
from jmeta.multitask._towers import Stitched, init_towers, run_towers, weighted_sum


def sluice_networks(
    stages: Sequence[Model],
    tasks: Mapping[str, Task],
    *,
    subspaces: int = 2,
    diagonal: float | None = None,
    last: float = 0.9,
) -> MultitaskModel:
    r"""Gives each task a tower whose subspaces go on as mixtures of all subspaces of all towers, and a mixture of the depths.

    .. math::
       \tilde x_{is}^l = \sum_{jr} \alpha^l_{is,jr} \, x_{jr}^l, \qquad h_i = \sum_l \beta_i^l \, \tilde x_i^l

    of equal parts of the channels (the last axis). :func:`subspace_orthogonality` keeps the subspaces apart. As in the authors'
    code :math:`\alpha` begins balanced and the last depth has most of :math:`\beta`; units may learn faster, see
    :func:`jmeta.multitask.unit_labels`. Each input goes through all towers. A task's rows of the last :math:`\alpha` and its
    :math:`\beta` are its own, everything else is shared.

    Args:
      stages: of each tower, one after another; all give one shape ``[n, ..., channels]``.
      tasks: by name, a head ``features -> outputs`` and a loss.
      subspaces: parts of the channels.
      diagonal: what a subspace keeps of its own activations at first, the rest in equal parts from all others; None begins with
        equal parts of everything.
      last: the share of the last stage in the mixture of depths at first, the rest in equal parts.

    Raises:
      ValueError: if there are no tasks or stages, a part is no model, ``subspaces`` is below 1, or a share is not between 0 and 1;
        from the functions, if stages give different shapes or their channels do not divide, inputs of tasks differ in shape, or
        data has other names.
    """
    stages = check_models("stages", stages)
    check_counts(subspaces=subspaces)
    check_share(last=last)
    names, depth = sorted(tasks), len(stages)
    units = len(names) * subspaces
    check_share(diagonal=1 / units if diagonal is None else diagonal)
    alpha = jnp.full((units, units), 1 / units)
    if diagonal is not None and units > 1:
        alpha = jnp.where(jnp.eye(units) > 0, diagonal, (1 - diagonal) / (units - 1))
    beta = jnp.full(depth, (1 - last) / max(depth - 1, 1)).at[-1].set(last if depth > 1 else 1.0)

    def init(key: jax.Array, x: dict[str, Any]) -> EncoderHead:
        towers, outputs = init_towers(stages, key, x)
        for at, found in enumerate(outputs):
            if found.shape != outputs[0].shape or found.shape[-1] % subspaces:
                raise ValueError(
                    f"stages must give one shape, of channels that {subspaces} subspaces divide; "
                    f"got {shapes(found)} of stages[{at}] and {shapes(outputs[0])} of stages[0]."
                )
        rows = jnp.split(alpha.astype(outputs[0].dtype), len(names))
        own = {name: (part, beta.astype(outputs[0].dtype)) for name, part in zip(names, rows, strict=True)}
        return EncoderHead(Stitched(towers, [alpha.astype(found.dtype) for found in outputs[:-1]]), own)

    def encode(shared: Stitched, x: Any, *, key: Key = None, mask: Mask = None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return run_towers(stages, shared, x, mix, key=key, mask=mask)

    def mix(unit: jax.Array, streams: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: _stitched(rows, streams, subspaces) for name, rows in zip(names, jnp.split(unit, len(names)), strict=True)}

    def features(params: EncoderHead, given: Any, name: str, *, key: Key = None, mask: Mask = None) -> Any:
        del key, mask
        (below, streams), (rows, depths) = given, params.head
        levels = [*(level[name] for level in below), _stitched(rows, streams, subspaces)]
        return functools.reduce(jnp.add, (share.astype(part.dtype) * part for share, part in zip(depths, levels, strict=True)))

    return multitask_model(Trunk(init, features, encode), tasks)


def subspace_orthogonality(params: EncoderHead, *, subspaces: int = 2) -> jax.Array:
    r"""Adds up :math:`\lVert G_r^\top G_s \rVert_F^2` over the pairs of subspaces of every matrix of the towers.

    A penalty for :func:`jmeta.penalize`; the authors' example has a strength of 0.1. G are the columns that a subspace is computed
    by: equal parts of the last axis of leaves ``[..., channels]`` of two axes or more.
    """

    def overlap(leaf: jax.Array) -> jax.Array:
        parts = jnp.split(leaf.reshape(-1, leaf.shape[-1]), subspaces, axis=-1)
        return sum((jnp.square(one.T @ other).sum() for one, other in itertools.combinations(parts, 2)), jnp.zeros((), leaf.dtype))

    matrices: list[Params] = [leaf for leaf in jax.tree.leaves(params.encoder.towers) if leaf.ndim > 1]
    return sum((overlap(leaf) for leaf in matrices), jnp.zeros(()))


def _stitched(rows: jax.Array, streams: Mapping[str, jax.Array], subspaces: int) -> jax.Array:
    """Mixes the subspaces of one tower by its rows ``[subspaces, tasks * subspaces]``."""
    parts = {(name, at): part for name, stream in streams.items() for at, part in enumerate(jnp.split(stream, subspaces, axis=-1))}
    return jnp.concatenate([weighted_sum(row[:, None], parts) for row in rows], axis=-1)
