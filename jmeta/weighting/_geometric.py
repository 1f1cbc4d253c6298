"""The geometric loss strategy (Chennupati, Sistu, Yogamani and Rawashdeh, 2019, 1904.08492)."""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._presence import mean_of_present
from jmeta._types import Tasks, Weighting

# The logarithm of what is smaller weighs too much: the derivative of a root has no bound at 0.
LEAST = 1e-8
# A weight has to stay a number in float32, because infinity times 0 is NaN.
LARGEST = 80.0


def geometric_loss_strategy() -> Weighting:
    r"""Weighs the tasks so that the gradient is that of the geometric mean of their losses.

    .. math:: w_k = \frac{\partial}{\partial L_k} \Bigl(\prod_i L_i\Bigr)^{1/K} = \frac{1}{K L_k} \Bigl(\prod_i L_i\Bigr)^{1/K}

    So every task moves the parameters by its relative change, and the scales of the losses do not matter but for one common factor.
    Losses have to be positive: one below 1e-8, also a negative one, is taken for 1e-8.
    """

    def init(tasks: Tasks) -> Any:
        del tasks
        return ()

    def weigh(state: Any, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any) -> tuple[jax.Array, Any]:
        del key, pullback
        # Logarithms, because the product of many losses leaves the range of numbers.
        logs = jnp.log(jnp.maximum(losses.astype(jnp.promote_types(losses.dtype, jnp.float32)), LEAST))
        means = jnp.exp(jnp.minimum(mean_of_present(logs, present) - logs, LARGEST))
        return means / jnp.maximum(present.sum(), 1), state

    return Weighting(init, weigh)
