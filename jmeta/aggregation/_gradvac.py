"""Gradient vaccine (Wang et al., 2021, 2010.05874), algorithm 1."""

import jax
import jax.numpy as jnp

from jmeta._named import count_of
from jmeta._options import check_share
from jmeta._types import Aggregator, Tasks
from jmeta.aggregation._gramian import weighted_by_gramian

# No finite step reaches a cosine of 1, which is the target of two tasks that always agreed; at this one the other gradient is
# added 22 times at most.
HIGHEST = 0.999


def gradvac(*, decay: float = 0.5, shuffle: bool = True) -> Aggregator:
    r"""Turns each task's gradient towards the others' until their cosine is what it usually is, then adds them up.

    For each task i and the other tasks j in random order, where the cosine :math:`\phi` of :math:`g_i'` (running) and :math:`g_j`
    (original) is below its target :math:`\hat\phi_{ij}`:

    .. math:: g_i' \leftarrow g_i' + \frac{|g_i'|}{|g_j|}
       \left(\hat\phi_{ij} \sqrt{\frac{1 - \phi^2}{1 - \hat\phi_{ij}^2}} - \phi\right) g_j,
       \qquad \hat\phi_{ij} \leftarrow d\, \hat\phi_{ij} + (1 - d)\, \phi

    Targets start at 0, so that the first step is that of :func:`jmeta.pcgrad`. A target above 0.999 counts as 0.999. What the paper
    calls beta is one minus ``decay``; the default is that of LibMTL and TorchJD. A pair of which one gradient is zero keeps its
    target. Shuffled it is permutation-equivariant in distribution; linear under scaling, strongly stationary.

    Args:
      decay: d, how much of a target stays in a step, from 0 to 1.
      shuffle: go through the other tasks in a random order for each task, as the paper does; False takes the task order.

    Raises:
      ValueError: if ``decay`` is not from 0 to 1; from ``combine``, if it shuffles and is given no key.
    """
    check_share(decay=decay)

    def init(tasks: Tasks) -> jax.Array:
        return jnp.zeros((count_of(tasks), count_of(tasks)))

    def weigh(
        gramian: jax.Array, targets: jax.Array, *, losses: jax.Array, present: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        # An absent task has a gradient of zeros, which has no cosine with any.
        del losses, present
        tasks = len(gramian)
        if shuffle and key is None:
            raise ValueError("key must be given to gradvac(shuffle=True); got None, expected a jax.random key.")
        orders = jnp.tile(jnp.arange(tasks), (tasks, 1))
        orders = orders if key is None or not shuffle else jax.random.permutation(key, orders, axis=1, independent=True)
        lengths = jnp.sqrt(jnp.diagonal(gramian))
        rounding = tasks * jnp.finfo(gramian.dtype).eps

        def surgery(task: jax.Array, order: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
            def turn(carry: tuple[jax.Array, jax.Array], other: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
                coefficients, targets = carry
                square = coefficients @ gramian @ coefficients
                # What is left of a gradient after surgery may be nothing but rounding of its parts.
                left = square > rounding * jnp.square(jnp.abs(coefficients) @ lengths)
                known = left & (lengths[other] > 0) & (other != task)
                length, reach = jnp.sqrt(jnp.where(known, square, 1)), jnp.where(known, lengths[other], 1)
                cosine = jnp.clip(coefficients @ gramian[:, other] / (length * reach), -1, 1)
                target = jnp.minimum(targets[other], HIGHEST)
                below = known & (cosine < target)
                sines = (1 - jnp.square(cosine)) / jnp.where(below, 1 - jnp.square(target), 1)
                more = jnp.where(below, length / reach * (target * jnp.sqrt(sines) - cosine), 0)
                moved = jnp.where(known, decay * targets[other] + (1 - decay) * cosine, targets[other])
                return (coefficients.at[other].add(more), targets.at[other].set(moved)), None

            start = jnp.zeros(tasks, gramian.dtype).at[task].set(1)
            return jax.lax.scan(turn, (start, targets), order)[0]

        coefficients, moved = jax.vmap(surgery)(jnp.arange(tasks), orders, targets.astype(gramian.dtype))
        return coefficients.sum(axis=0), moved.astype(targets.dtype)

    return weighted_by_gramian(weigh, init)
