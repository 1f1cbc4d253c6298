"""What is measured, as plain data that both sides read."""

import math
import time
from collections.abc import Callable
from typing import Any

LIBRARIES = ["learn2learn", "higher", "torchopt", "torch", "torch.func"]
TOLERANCE = 1e-4
SINUSOID = {
    "kind": "maml",
    "network": "perceptron",
    "tasks": 25,
    "steps_per_chunk": 50,  # as many steps of ours under one scan, which is how fit runs them
    "inner_learning_rate": 0.01,
    "learning_rate": 1e-3,
    "layouts": ["contiguous"],
    "peers": LIBRARIES,
}
OMNIGLOT = {
    "kind": "maml",
    "network": "convolutional",
    "tasks": 8,
    "steps_per_chunk": 4,
    "ways": 5,
    "shots": 1,
    "queries": 15,
    "inner_learning_rate": 0.4,
    "learning_rate": 1e-3,
    "layouts": ["contiguous", "channels_last"],
    "peers": LIBRARIES,
}
# Those that TorchJD has too.
AGGREGATORS = (
    "pcgrad",
    "gradvac",
    "graddrop",
    "imtl_g",
    "aligned_mtl",
    "mgda",
    "cagrad",
    "nash_mtl",
    "upgrad",
    "dual_projection",
    "fairgrad",
    "cr_mogm",
)
# How far from the solution TorchJD stops at most, which `python -m benchmarks.aggregators` measures; its times are those of that.
INEXACT = {"mgda": 1.0, "cagrad": 1e-3, "nash_mtl": 1.0, "upgrad": 0.02, "dual_projection": 0.02, "fairgrad": 0.01}
WORKS: dict[str, dict[str, Any]] = {
    "sinusoid-maml-1": SINUSOID | {"inner_steps": 1},
    "sinusoid-maml-5": SINUSOID | {"inner_steps": 5},
    "omniglot-maml-1": OMNIGLOT | {"inner_steps": 1},
    "omniglot-maml-5": OMNIGLOT | {"inner_steps": 5},
    "prototypical": {
        "kind": "prototypical",
        "network": "pooled",
        "steps_per_chunk": 4,
        "ways": 20,
        "shots": 5,
        "queries": 15,
        "learning_rate": 1e-3,
        "layouts": ["contiguous", "channels_last"],
        "peers": ["torch"],
    },
    "dense": {
        "kind": "dense",
        "examples": 5_000,
        "features": 20,
        "classes": 5,
        "width": 64,
        "batch": 256,
        "steps_per_chunk": 100,
        "steps_per_run": 1_000,  # of one call of fit
        "learning_rate": 1e-3,
        "layouts": ["contiguous"],
        "peers": ["torch", "torch-indexing"],
    },
} | {
    f"{aggregator}-{tasks}": {
        "kind": "aggregation",
        "aggregator": aggregator,
        "tasks": tasks,
        "parameters": 1_000_000,
        "layouts": ["contiguous"],
        "peers": ["torchjd"],
    }
    | ({"tolerance": INEXACT[aggregator]} if aggregator in INEXACT else {})
    for aggregator in AGGREGATORS
    for tasks in (4, 16, 64)
}


def timer(step: Callable[[], Any], wait: Callable[[Any], Any], minimum: float) -> tuple[Callable[[], float], float]:
    """Warms ``step`` up and makes a function that times it for about ``minimum`` seconds.

    Args:
      step: does the work once.
      wait: waits for what ``step`` returned to be there; called once after all repetitions, as a training loop does.
      minimum: of the seconds that a timing lasts.

    Returns:
      The function, which gives milliseconds per step, and the milliseconds of the fastest warm step.
    """

    def once(repetitions: int) -> float:
        start, last = time.perf_counter(), None
        for _ in range(repetitions):
            last = step()
        wait(last)
        return (time.perf_counter() - start) / repetitions

    first = once(1)
    # The first step compiles; a step of many seconds is not worth more warming.
    seconds = min([once(1)] if first > 10 else [once(1) for _ in range(3)])
    repetitions = max(1, math.ceil(minimum / seconds))
    return lambda: 1e3 * once(repetitions), 1e3 * seconds
