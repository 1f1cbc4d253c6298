"""Compares ours with every peer of a work: first the gradients, then the times in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.peers import ours
from benchmarks.peers.client import Worker, ask, ask_gradient
from benchmarks.peers.rows import make_row
from benchmarks.peers.works import TOLERANCE, timer

SLOW_MS = 3000  # per step; such a peer is timed in fewer rounds
SLOW_ROUNDS = 3
PROMISING = 1.25  # a variant that took longer than this times its peer's fastest when warm is not timed further
PAUSE = 0.02  # seconds in which the threads of the side that was timed before fall asleep


class Variant(NamedTuple):
    """One way to run a peer: ``gradient()``; ``warm() -> ms``, the fastest warm step; then ``time() -> ms`` per step."""

    name: str
    gradient: Callable[[], list[np.ndarray]]
    warm: Callable[[], float]
    time: Callable[[], float]


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Gives the norm of the difference of two gradients over the norm of the second; infinite where shapes differ."""
    if [array.shape for array in found] != [array.shape for array in expected]:
        return float("inf")
    squares = sum(float(np.square(one - other, dtype=np.float64).sum()) for one, other in zip(found, expected, strict=True))
    return float(np.sqrt(squares / sum(float(np.square(array, dtype=np.float64).sum()) for array in expected)))


def measure(
    name: str, work: dict[str, Any], workers: Sequence[Worker], data: str | None, rounds: int, minimum: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measures one work.

    Args:
      name: of the work, for the rows.
      work: what it is.
      workers: the processes of the peers, one per number of threads.
      data: a folder with Omniglot, or None.
      rounds: how often each is timed.
      minimum: of the seconds that a timing lasts.

    Returns:
      The rows, and a sentence for each peer that was not timed.
    """
    prepared = ours.prepare(work, data)
    tolerance = work.get("tolerance", TOLERANCE)
    peers = {peer: [inside(contender, minimum)] for peer, contender in prepared.inside.items()}
    peers |= outside(work, workers, prepared.arrays, minimum)
    expected = prepared.ours.gradient()
    differences = {peer: max(difference(one.gradient(), expected) for one in variants) for peer, variants in peers.items()}
    agreeing = {peer: variants for peer, variants in peers.items() if differences[peer] <= tolerance}
    times = in_turn(inside(prepared.ours, minimum), agreeing, rounds)
    own = {"steps_per_chunk": prepared.ours.steps, "devices": prepared.ours.devices}
    rows = [make_row(name, peer, *times[peer]) | {"gradient_difference": differences[peer]} | own for peer in times]
    if "batch" in work:
        rows = [
            row | {f"{side}_examples_per_second": 1e3 * work["batch"] / row[f"{side}_ms"] for side in ("ours", "peer")}
            for row in rows
        ]
    return rows, [refusal(name, peer, differences[peer], tolerance) for peer in peers if peer not in agreeing]


def refusal(name: str, peer: str, found: float, tolerance: float) -> str:
    return f"{name}: {peer} is not timed: its gradient must be ours to {tolerance:g}, relative; got a difference of {found:.1e}."


def inside(contender: ours.Contender, minimum: float) -> Variant:
    """Makes a variant of a contender in this process."""
    timing = None

    def warm() -> float:
        nonlocal timing
        timing, fastest = timer(contender.run, jax.block_until_ready, minimum)
        return fastest / contender.steps

    return Variant("in the same process", contender.gradient, warm, lambda: timing() / contender.steps)


def outside(
    work: dict[str, Any], workers: Sequence[Worker], arrays: Mapping[str, np.ndarray], minimum: float
) -> dict[str, list[Variant]]:
    """Hands the arrays of a work to the workers and makes the variants that they offer, by peer."""
    peers: dict[str, list[Variant]] = {}
    for worker in workers:
        path = worker.folder / "arrays.npz"
        np.savez(path, **arrays)
        for name in ask(worker, "prepare", work=work, path=str(path))["names"]:
            peer, _, layout = name.partition("/")
            peers.setdefault(peer, []).append(remote(worker, name, layout, minimum))
        path.unlink()
    return {peer: peers[peer] for peer in work["peers"]}


def remote(worker: Worker, name: str, layout: str, minimum: float) -> Variant:
    """Makes a variant of a contender in a worker."""
    threads = f"{worker.threads} thread{'s' if worker.threads > 1 else ''}"
    return Variant(
        threads if layout == "contiguous" else f"{threads}, {layout}",
        lambda: ask_gradient(worker, name),
        lambda: ask(worker, "warm", name=name, minimum=minimum)["ms"],
        lambda: ask(worker, "time", name=name)["ms"],
    )


def in_turn(own: Variant, peers: Mapping[str, list[Variant]], rounds: int) -> dict[str, tuple[list[float], dict[str, list[float]]]]:
    """Times ours and then each promising variant of a peer, round by round; odd rounds go backwards, so that a drift cancels."""
    own.warm()
    warm = {peer: [(variant.warm(), variant) for variant in variants] for peer, variants in peers.items()}
    fastest = {peer: min(ms for ms, _ in variants) for peer, variants in warm.items()}
    peers = {peer: [variant for ms, variant in variants if ms <= PROMISING * fastest[peer]] for peer, variants in warm.items()}
    times = {peer: ([], {variant.name: [] for variant in variants}) for peer, variants in peers.items()}
    for index in range(rounds):
        for peer in sorted(peers, key=list(peers).index, reverse=bool(index % 2)):
            if index >= SLOW_ROUNDS and fastest[peer] > SLOW_MS:
                continue
            for variant, found in ((own, times[peer][0]), *((one, times[peer][1][one.name]) for one in peers[peer])):
                time.sleep(PAUSE)
                found.append(variant.time())
    return times
