"""What metrics see of outputs and targets."""

import jax
import jax.numpy as jnp
import numpy as np


def has_one_logit(outputs: jax.Array | np.ndarray, targets: jax.Array | np.ndarray) -> bool:
    """Tells one logit per label from several, ``[..., ways]``, by shapes and types alone, and refuses everything else."""
    if not (jnp.issubdtype(targets.dtype, jnp.integer) or jnp.issubdtype(targets.dtype, jnp.bool_)):
        raise ValueError(f"targets must hold integer or boolean labels; got dtype {targets.dtype}.")
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(f"outputs must hold floating-point logits, nothing decided; got dtype {outputs.dtype}.")
    if outputs.shape in (targets.shape, (*targets.shape, 1)):
        return True
    if outputs.shape[:-1] != targets.shape or not outputs.shape[-1]:
        raise ValueError(
            "outputs must have the shape of the targets and then one axis of logits, or exactly the targets' shape; "
            f"got outputs {outputs.shape} and targets {targets.shape}."
        )
    return False
