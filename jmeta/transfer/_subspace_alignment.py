"""Subspace alignment (Fernando, Habrard, Sebban and Tuytelaars, 2013, ICCV), equation 2 and algorithm 1."""

from typing import Any

from jmeta.transfer._two_domains import Pair, check_domains, principal_directions


def subspace_alignment(source: Any, target: Any, *, components: int) -> Pair:
    r"""Turns the principal directions of the source into those of the target.

    .. math:: X_s P_s (P_s^\top P_t), \quad X_t P_t

    with the directions :math:`P` of each domain, and features less the mean of their domain.

    Args:
      source: ``[n, d]``.
      target: ``[m, d]``.
      components: directions of each domain.

    Returns:
      ``[n, components]`` and ``[m, components]``, in float64 on the host.

    Raises:
      ValueError: if they are no features of one width, or ``components`` is not from 1 to ``d``.

    >>> source, target = subspace_alignment([[0.0, 1.0], [2.0, 1.0]], [[5.0, 0.0], [5.0, 4.0]], components=2)
    >>> abs(source).round(12).tolist(), abs(target).round(12).tolist()
    ([[0.0, 1.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]])
    """
    source, target = check_domains(source, target, components)
    of_source, of_target = (principal_directions(rows, components) for rows in (source, target))
    aligned = (source - source.mean(axis=0)) @ of_source @ (of_source.T @ of_target)
    return aligned, (target - target.mean(axis=0)) @ of_target
