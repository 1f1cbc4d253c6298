"""Smooth Tchebycheff scalarisation (Lin, Zhang, Yang, Liu, Wang and Zhang, 2024, 2402.19078)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._named import per_task
from jmeta._options import check_counts, check_positive
from jmeta._types import Tasks, Weighting

# The logarithm of what is smaller weighs too much: it has no bound at 0.
LEAST = 1e-8


class SmoothTchebycheffState(NamedTuple):
    """What is known of each task.

    Attributes:
      preferences: ``[tasks]``, not yet divided by their sum.
      reference: ``[tasks]``, the ideal losses.
      nadir: ``[tasks]``, the mean losses of the last steps of the warm-up; 1 without any.
      counts: ``[tasks]``, how many losses they are of.
      step: how many there were, up to the last of the warm-up.
    """

    preferences: jax.Array
    reference: jax.Array
    nadir: jax.Array
    counts: jax.Array
    step: jax.Array


def smooth_tchebycheff(
    smoothing: float,
    *,
    preferences: float | Mapping[str, float] | Sequence[float] = 1.0,
    reference: float | Mapping[str, float] | Sequence[float] = 0.0,
    nadir_steps: tuple[int, int] | None = None,
) -> Weighting:
    r"""Weighs the tasks so that the gradient is that of a smooth maximum of their weighted losses.

    .. math:: \mu \log \sum_k \exp\frac{\lambda_k (L_k - z_k)}{\mu}

    The smaller :math:`\mu`, the more it is the largest :math:`\lambda_k (L_k - z_k)` alone that counts.

    With ``nadir_steps`` it is what the authors' code does for networks, whose losses have no common scale: K times the smooth
    maximum of :math:`K \lambda_k \log((L_k - z_k) / n_k)`, where the nadir n is the mean of :math:`L - z` over these steps; until
    they are over, the sum of :math:`K \lambda_k \log(L_k - z_k)` is minimised. The authors take the fifth epoch, and have neither
    preferences nor a reference there. A task that is absent in all of these steps has a nadir of 1; a loss below its reference plus
    1e-8 (theirs: 1e-20) is taken for that.

    Args:
      smoothing: :math:`\mu`, on the scale of the weighted losses; the paper tries 0.01 to 1.
      preferences: :math:`\lambda`, one for all or for each task, by name or in the order of the losses; those of the tasks that are
        present are divided by their sum.
      reference: z, the ideal losses, likewise.
      nadir_steps: the first step that the nadir is averaged over, and the first one behind it.

    Raises:
      ValueError: if ``smoothing`` is not positive or ``nadir_steps`` is no range of steps; from ``init``, if a preference is not
        positive or an option names a task that is not there or has another length than there are tasks.
    """
    check_positive(smoothing=smoothing)
    begin, end = (0, 0) if nadir_steps is None else nadir_steps
    check_counts(0, nadir_steps=begin)
    check_counts(0 if nadir_steps is None else begin + 1, nadir_steps=end)

    def init(tasks: Tasks) -> SmoothTchebycheffState:
        preferred = per_task("preferences", preferences, tasks, 1.0)
        if not (preferred > 0).all():
            raise ValueError(f"preferences must be positive; got {preferred.min()}.")
        ideal = jnp.asarray(per_task("reference", reference, tasks, 0.0), dtype=float)
        counts, step = jnp.zeros(ideal.shape, jnp.int32), jnp.zeros((), jnp.int32)
        return SmoothTchebycheffState(jnp.asarray(preferred, dtype=float), ideal, jnp.ones_like(ideal), counts, step)

    def weigh(
        state: SmoothTchebycheffState, losses: jax.Array, *, present: jax.Array, key: jax.Array, pullback: Any
    ) -> tuple[jax.Array, Any]:
        del key, pullback
        excess = losses.astype(state.reference.dtype) - state.reference
        preferred = jnp.where(present, state.preferences, 0)
        preferred /= jnp.where(present.any(), preferred.sum(), 1)
        if nadir_steps is None:
            return preferred * _shares(preferred * excess, smoothing, present), state
        tasks, above = present.sum(), jnp.maximum(excess, LEAST)
        logs = tasks * preferred * (jnp.log(above) - jnp.log(state.nadir))
        shares = jnp.where(state.step < end, 1, tasks * _shares(logs, smoothing, present))
        weights = shares * tasks * preferred / above
        return weights, _averaged(state, above, present & (begin <= state.step) & (state.step < end), end)

    return Weighting(init, weigh)


def _shares(values: jax.Array, smoothing: float, present: jax.Array) -> jax.Array:
    """Gives the derivatives of the smooth maximum by its values."""
    # The largest becomes 0 before the division, which would make large values infinite.
    largest = values.max(where=present, initial=-jnp.inf)
    return jax.nn.softmax((values - largest) / smoothing, where=present)


def _averaged(state: SmoothTchebycheffState, losses: jax.Array, counted: jax.Array, end: int) -> SmoothTchebycheffState:
    counts = state.counts + counted
    # A running mean, because a sum of large losses is infinite.
    nadir = state.nadir + jnp.where(counted, (losses - state.nadir) / jnp.maximum(counts, 1), 0)
    return state._replace(nadir=nadir, counts=counts, step=jnp.minimum(state.step + 1, end))
