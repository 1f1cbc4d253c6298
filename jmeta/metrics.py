"""Metrics that optax and scikit-learn lack in the form ``(outputs [n, ...], targets [n, ...]) -> [n, ...]``."""

import jax
import jax.numpy as jnp


def accuracy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Marks with 1 each row whose largest logit is that of its label.

    >>> import jax.numpy as jnp
    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])).tolist()
    [1.0, 0.0]

    Raises:
      ValueError: if the targets are no integers, or not one per row of logits.
    """
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(f"targets must hold integer labels; got dtype {targets.dtype}.")
    if outputs.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets must have one label per row of outputs; got targets {targets.shape} and outputs {outputs.shape}."
        )
    return (outputs.argmax(axis=-1) == targets).astype(jnp.float32)


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Squares the differences.

    Raises:
      ValueError: if the shapes differ, which would broadcast to all pairs of rows.
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape; got {outputs.shape} and {targets.shape}.")
    return jnp.square(outputs - targets)
