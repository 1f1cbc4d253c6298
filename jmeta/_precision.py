"""The precision that a model computes in, apart from the precision that it learns in.

Parameters, gradients and the optimiser's state stay float32, so that small updates are not rounded away; only the products
between them are formed in fewer bits (Micikevicius et al., *Mixed precision training*, 2018, 1710.03740).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model
from jmeta._types import Model, Params


def compute_in(model: Model, dtype: Any) -> Model:
    """Makes a model whose ``apply`` computes in ``dtype``, such as ``jnp.bfloat16``, on parameters that stay float32.

    Floating-point parameters and inputs are cast on the way in, floating-point outputs to float32 on the way out; integers,
    booleans, keys and the mask pass as they are. The derivative of a cast is a cast, so gradients have the type of the parameters,
    and losses, metrics and inner steps are float32.

    Args:
      model: any model; of an ``EncoderHead``, give each part, or the composed model.
      dtype: a floating-point type. With float16 small gradients vanish; bfloat16 has the range of float32.

    Raises:
      ValueError: if ``dtype`` is not a floating-point type, or ``model`` is no model.
    """
    check_model("model", model)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be a floating-point type such as jax.numpy.bfloat16; got {jnp.dtype(dtype).name}.")

    def apply(params: Params, x: Any, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any:
        outputs = model.apply(_cast(params, dtype), _cast(x, dtype), key=key, mask=mask)
        return _cast(outputs, jnp.promote_types(dtype, jnp.float32))

    return model._replace(apply=apply)


def add_scaled(one: Any, scale: Any, other: Any) -> Any:
    """Computes ``one + scale * other``, each leaf in its own type, whatever that of ``scale``."""
    return jax.tree.map(lambda leaf, more: (leaf + scale * more).astype(leaf.dtype), one, other)


def _cast(tree: Any, dtype: Any) -> Any:
    """Casts the floating-point leaves."""

    def cast(leaf: Any) -> Any:
        return jnp.asarray(leaf, dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

    return jax.tree.map(cast, tree)
