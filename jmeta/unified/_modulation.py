"""A meta-learner that modulates one initialisation: MMAML (Vuorio, Sun, Hu and Lim, 2019, 1910.13616), equations 3 and 4, FiLM."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_positive
from jmeta._rows import trailing
from jmeta._types import Params
from jmeta.unified._dense import dense, zeros_init
from jmeta.unified._parts import MetaLearner
from jmeta.unified._rules import Rule, generated_descent


def modulating_meta_learner(*, inner_rate: float = 0.01) -> MetaLearner:
    r"""Scales and shifts the output channels of one set of initial weights by what the task is; the steps are all alike.

    .. math:: W \leftarrow W \odot (1 + \gamma(e)), \quad b \leftarrow b + \beta(e)

    for each tensor with linear :math:`\gamma` and :math:`\beta`, which begin at 0; b is every tensor of one axis. A layer
    :math:`W x + b` is scaled and shifted as its activations are by FiLM.

    Differs from the authors' code: the embedding is that of any task encoder, where theirs is a recurrent network over sorted
    examples; and all of the modulated weights adapt, where theirs hold the modulation apart.

    Args:
      inner_rate: the step size of every step, in parameter units per unit of gradient.

    Raises:
      ValueError: if ``inner_rate`` is not positive.
    """
    check_positive(inner_rate=inner_rate)

    def init(key: jax.Array, make: Callable[[jax.Array], Params], embedding: jax.Array, num_steps: int) -> Params:
        del num_steps
        weights = make(key)
        modulations = jax.tree.map(lambda leaf: zeros_init(len(embedding), _channels(leaf)), weights)
        return {"weights": weights, "modulations": modulations}

    def initial(params: Params, embedding: jax.Array) -> Params:
        def modulated(leaf: jax.Array, modulation: Params) -> jax.Array:
            change = dense(modulation, embedding)
            if leaf.ndim < 2:
                return leaf + change.reshape(leaf.shape)
            return leaf * (1 + trailing(change, leaf))

        return jax.tree.map(modulated, params["weights"], params["modulations"])

    def rule(params: Params, embedding: jax.Array) -> Rule:
        return Rule(jnp.full((1, len(jax.tree.leaves(params["weights"]))), inner_rate, embedding.dtype))

    return MetaLearner(init, initial, rule, functools.partial(generated_descent, "tensor"), inner_rate, "tensor")


def _channels(leaf: Any) -> int:
    return leaf.shape[-1] if leaf.ndim else 1
