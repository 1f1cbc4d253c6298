"""Independent component alignment (Senushkin et al., 2023, 2305.19000), algorithm 1."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jmeta._named import per_task
from jmeta._types import Aggregator, Tasks
from jmeta.aggregation._gramian import weighted_by_gramian
from jmeta.aggregation._spectrum import power, spectrum

SCALES = ("min", "median", "rmse")


def aligned_mtl(*, scale: str = "min", preference: float | Mapping[str, float] | Sequence[float] = 1.0) -> Aggregator:
    r"""Makes the principal components of the gradients equally long, then adds up what the gradients have become.

    .. math:: \alpha = \sqrt{s}\, V \Lambda^{-1/2} V^T w, \qquad G = V \Lambda V^T

    The aligned gradients are orthogonal and of length :math:`\sqrt{s}`, as far as they are linearly independent; eigenvalues below
    :math:`K \epsilon` times the largest are left out. With the authors' preferences of 1 they are added up; TorchJD averages them,
    ``preference=1 / K``. Permutation-equivariant, with these strongly stationary.

    Args:
      scale: the squared length s of a component: ``"min"``, the smallest eigenvalue; ``"median"``, the lower median; or ``"rmse"``,
        the mean.
      preference: w, what each task counts, by name or in the order of the losses.

    Raises:
      ValueError: if ``scale`` is unknown; from ``init``, if ``preference`` names a task that is not there or is of another length
        than there are tasks.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}.")

    def init(tasks: Tasks) -> jax.Array:
        return jnp.asarray(per_task("preference", preference, tasks, 1.0), dtype=float)

    def weigh(
        gramian: jax.Array, preferences: jax.Array, *, losses: jax.Array, present: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del losses, key
        known = spectrum(gramian, present)
        rank = known.kept.sum()
        # Kept are the last ones; without any, the largest is 0.
        first = jnp.minimum(len(gramian) - rank, len(gramian) - 1)
        square = {
            "min": known.values[first],
            "median": known.values[first + jnp.maximum(rank - 1, 0) // 2],
            "rmse": jnp.where(known.kept, known.values, 0).sum() / jnp.maximum(rank, 1),
        }[scale]
        factors = power(known, -0.5) * jnp.sqrt(jnp.maximum(square, 0))
        return known.vectors @ (factors * (preferences.astype(gramian.dtype) @ known.vectors)), preferences

    return weighted_by_gramian(weigh, init)
