"""A dense layer as two functions, in the precision of what it is given."""

import jax
import jax.numpy as jnp

from jmeta._rows import trailing
from jmeta._types import Params


def dense_init(key: jax.Array, inputs: int, outputs: int) -> Params:
    """Makes weights of variance one over the number of inputs, and no bias."""
    return {"kernel": jax.random.normal(key, (inputs, outputs)) / max(inputs, 1) ** 0.5, "bias": jnp.zeros(outputs)}


def zeros_init(inputs: int, outputs: int) -> Params:
    """Makes a layer that gives zeros."""
    return {"kernel": jnp.zeros((inputs, outputs)), "bias": jnp.zeros(outputs)}


def dense(params: Params, x: jax.Array) -> jax.Array:
    """Maps ``[..., inputs]`` to ``[..., outputs]``."""
    return x @ params["kernel"] + trailing(params["bias"], x)
