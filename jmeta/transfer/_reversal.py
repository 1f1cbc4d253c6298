"""Gradient reversal (Ganin et al., 2016, 1505.07818, section 4.2): a minimax game by one descent."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_positive


@jax.custom_jvp
def reverse_gradient(x: Any, strength: Any) -> Any:
    r"""Gives ``x`` as it is, and takes its derivative times :math:`-\lambda`.

    What comes after it descends; what comes before it ascends, by :math:`\lambda` times as much.

    >>> import jax
    >>> jax.grad(lambda x: 3 * reverse_gradient(x, 0.5))(1.0).item()
    -1.5

    Args:
      x: a pytree of arrays.
      strength: :math:`\lambda`, a number; it has no gradient itself.
    """
    del strength
    return x


@reverse_gradient.defjvp
def _reverse_gradient_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (x, strength), (tangent, _) = primals, tangents
    return x, jax.tree.map(lambda leaf: (-strength * leaf).astype(leaf.dtype), tangent)


def reversal_schedule(num_steps: int, *, gamma: float = 10.0, peak: float = 1.0) -> Callable[[Any], jax.Array]:
    r"""Starts the game slowly, while the features still say little.

    .. math:: \lambda_p = \lambda_1 \left(\frac{2}{1 + e^{-\gamma p}} - 1\right)

    with :math:`p` the share of the training that is over (Ganin et al., 2016, section 5.2.2).

    Args:
      num_steps: of the training; the Transfer-Learning-Library has 1000 whatever its length, with ``gamma=1``.
      gamma: how fast it rises.
      peak: :math:`\lambda_1`, which it rises to.

    Raises:
      ValueError: if ``num_steps`` or ``gamma`` is not positive.
    """
    check_positive(num_steps=num_steps, gamma=gamma)
    return lambda step: peak * jnp.tanh(gamma / 2 * jnp.asarray(step, float) / num_steps)
