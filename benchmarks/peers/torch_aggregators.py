"""TorchJD's aggregators under the names that they have here."""

from collections.abc import Callable
from typing import Any

import torch
from torchjd import aggregation
from torchjd.linalg import QuadprogProjector

# Nothing is added to the quadratic program but what it needs to be solved.
EXACT_PROJECTION = {"norm_eps": 0.0, "reg_eps": 1e-12}
# For a number of tasks: as they come, and where options make them more exact, with these.
DEFAULT: dict[str, Callable[[int], Any]] = {
    "pcgrad": lambda tasks: aggregation.PCGrad(),
    "gradvac": lambda tasks: aggregation.GradVac(),
    "graddrop": lambda tasks: aggregation.GradDrop(),
    "imtl_g": lambda tasks: aggregation.IMTLG(),
    "aligned_mtl": lambda tasks: aggregation.AlignedMTL(),
    "mgda": lambda tasks: aggregation.MGDA(),
    "cagrad": lambda tasks: aggregation.CAGrad(c=0.5),
    "nash_mtl": lambda tasks: aggregation.NashMTL(n_tasks=tasks),
    "upgrad": lambda tasks: aggregation.UPGrad(),
    "dual_projection": lambda tasks: aggregation.DualProj(),
    "fairgrad": lambda tasks: aggregation.FairGrad(alpha=2.0),
    "cr_mogm": lambda tasks: aggregation.GramianWeightedAggregator(aggregation.CRMOGMWeighting(aggregation.PCGradWeighting())),
}
TIGHTENED: dict[str, Callable[[int], Any]] = {
    "gradvac": lambda tasks: aggregation.GradVac(eps=1e-30),
    "mgda": lambda tasks: aggregation.MGDA(epsilon=1e-9, max_iters=2_000),
    "cagrad": lambda tasks: aggregation.CAGrad(c=0.5, norm_eps=1e-12),
    "nash_mtl": lambda tasks: aggregation.NashMTL(n_tasks=tasks, optim_niter=200),
    "upgrad": lambda tasks: aggregation.UPGrad(projector=QuadprogProjector(**EXACT_PROJECTION)),
    "dual_projection": lambda tasks: aggregation.DualProj(projector=QuadprogProjector(**EXACT_PROJECTION)),
    "fairgrad": lambda tasks: aggregation.FairGrad(alpha=2.0, max_iters=100_000),
}


def make(work: dict[str, Any]) -> Any:
    """Makes the aggregator of a work; ``tightened`` asks for more exact options than the defaults."""
    return (TIGHTENED if work.get("tightened") else DEFAULT)[work["aggregator"]](work["tasks"])


def without_chance(aggregator: Any, history: torch.Tensor, draws: torch.Tensor | None) -> torch.Tensor:
    """Aggregates the gradients of several steps, ``[steps, tasks, parameters]``, and gives what the last became.

    Random orders are the order of the tasks, and random numbers those of the other side.
    """
    permutation, uniform = torch.randperm, torch.rand
    torch.randperm, torch.rand = torch.arange, lambda *_, **__: draws
    try:
        return [aggregator(gradients) for gradients in history][-1]
    finally:
        torch.randperm, torch.rand = permutation, uniform
