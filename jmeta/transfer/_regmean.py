"""RegMean: merging linear layers by regression (Jin et al., 2022, 2212.09849), section 3.3.

The authors multiply what is off the diagonals by 0.9 as a rule, FusionBench by 0.1.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_share
from jmeta._paths import path_of
from jmeta._sentences import first_line, kinds
from jmeta._types import Params
from jmeta.transfer._merging import side_by_side, typed_like


def regmean(models: Sequence[Params], gramians: Sequence[Any], *, off_diagonal: float = 0.1) -> Params:
    r"""Merges fine-tuned networks so that each linear layer gives nearly what each model's own would give on its own inputs.

    .. math:: W = \left(\sum_i G_i\right)^{-1} \sum_i G_i W_i, \quad G_i = X_i^\top X_i

    What has no Gramian is averaged.

    Args:
      models: parameter trees of one structure.
      gramians: for each model a tree like its parameters, with ``X.T @ X``, ``[in, in]``, of the inputs ``X [n, in]`` of each
        kernel ``[in, out]``, and None for all other leaves; 256 examples are usual.
      off_diagonal: what the Gramians' entries off the diagonal are multiplied by, from 0 to 1; 1 is plain regression.

    Raises:
      ValueError: if the trees differ in structure or shapes, there is not one tree of Gramians for each model, or a Gramian does
        not fit its kernel.
    """
    check_share(off_diagonal=off_diagonal)
    many = side_by_side(models)
    if len(gramians) != len(models):
        raise ValueError(f"gramians must be those of each of {len(models)} models; got {len(gramians)}.")
    try:
        jax.tree.map(lambda *_: None, many, *gramians)
    except (TypeError, ValueError) as error:
        got = first_line(error)
        raise ValueError(f"gramians must be trees like the parameters, None where there is none; got {got}.") from error

    def merged(path: Any, leaf: jax.Array, *found: Any) -> jax.Array:
        if all(gramian is None for gramian in found):
            return leaf.mean(axis=0)
        if leaf.ndim != 3 or any(jnp.shape(gramian) != (leaf.shape[1],) * 2 for gramian in found):
            got = [None if gramian is None else kinds(gramian) for gramian in found]
            raise ValueError(f"gramians must be [in, in] for the kernel {path_of(path)} {leaf.shape[1:]}; got {got}.")
        return _regression(leaf, jnp.stack([jnp.asarray(gramian, leaf.dtype) for gramian in found]), off_diagonal)

    return typed_like(models[0], jax.tree_util.tree_map_with_path(merged, many, *gramians))


def _regression(kernels: jax.Array, gramians: jax.Array, off_diagonal: float) -> jax.Array:
    eye = jnp.eye(kernels.shape[1], dtype=kernels.dtype)
    gramians = gramians * (eye + off_diagonal * (1 - eye))[None]
    # Inputs that are never there say nothing, and their rows are averaged.
    floor = jnp.finfo(kernels.dtype).eps * jnp.trace(gramians.sum(axis=0))
    floor = jnp.where(floor > 0, floor, 1)
    wanted = jnp.einsum("mij,mjk->ik", gramians, kernels) + floor * kernels.mean(axis=0)
    return jnp.linalg.solve(gramians.sum(axis=0) + floor * eye, wanted)
