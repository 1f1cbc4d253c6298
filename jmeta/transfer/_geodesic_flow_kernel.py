"""The geodesic flow kernel (Gong, Shi, Sha and Grauman, 2012, CVPR), equations 4 to 7."""

from typing import Any

import numpy as np

from jmeta.transfer._two_domains import Pair, check_domains, principal_directions


def geodesic_flow_kernel(source: Any, target: Any, *, components: int) -> Pair:
    r"""Compares rows along the whole way from the principal directions of the source to those of the target.

    .. math:: \langle x, y \rangle = x^\top G y, \quad G = \int_0^1 \Phi(t) \Phi(t)^\top \, dt

    with the geodesic :math:`\Phi(t) [d, components]` of subspaces from one domain's to the other's, in closed form by the principal
    angles between them. Features become :math:`x^\top G^{1/2}`, so that dot products and distances are those of the kernel.

    Args:
      source: ``[n, d]``, as a rule the z-scores of the domain.
      target: ``[m, d]``, likewise.
      components: directions of each domain, at most half of ``d``.

    Returns:
      ``[n, d]`` and ``[m, d]``, in float64 on the host.

    Raises:
      ValueError: if they are no features of one width, or ``components`` is not from 1 to half of ``d``.
    """
    source, target = check_domains(source, target, components)
    width = source.shape[1]
    if 2 * components > width:
        raise ValueError(f"components must be at most half the number of features; got components={components} and {width}.")
    directions = principal_directions(source)
    start, beyond = directions[:, :components], directions[:, components:]
    end = principal_directions(target, components)
    left, cosines, right = np.linalg.svd(start.T @ end)
    sines_by = beyond.T @ end @ right.T
    # Of an angle near 0 the sine says more than the cosine, and the other way round.
    sines = np.linalg.norm(sines_by, axis=0)
    angles = np.arctan2(sines, cosines)
    away = beyond @ (sines_by / np.where(sines > 0, sines, 1))
    along = start @ left
    # Integrals over t of cos^2, cos sin and sin^2 of t times the angle; sinc is sin(pi x) / (pi x).
    double = np.sinc(2 * angles / np.pi)
    mixed = np.sin(angles) ** 2 / (2 * np.where(angles > 0, angles, 1))
    both = np.concatenate([along, away], axis=1)
    inner = np.block([[np.diag((1 + double) / 2), np.diag(mixed)], [np.diag(mixed), np.diag((1 - double) / 2)]])
    values, vectors = np.linalg.eigh(both @ inner @ both.T)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return source @ root, target @ root
