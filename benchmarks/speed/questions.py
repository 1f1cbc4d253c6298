"""One function per question; each gives a dict of figures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jmeta
from benchmarks.devices import devices_for
from benchmarks.speed.compilation import cold_compile, second_process
from benchmarks.speed.ground import heads_on_one_input, implicit_memory, prototypical_memory, second_fit, sweep_of_rates
from benchmarks.speed.jobs import IMAGE_TASKS, compiled, convolutional_job, seconds_in_turn, sinusoid_job, slope
from benchmarks.speed.memory import cost_accuracy, nested_memory
from benchmarks.speed.overhead import fit_overhead

TASKS = (4, 8, 16, 32, 64)
STEPS = (1, 2, 4, 8, 16, 32)


def growth_tasks(rounds: int) -> dict[str, Any]:
    """Time against the number of tasks, four at a time."""
    jobs = [sinusoid_job(tasks=tasks, micro_batch=4, hidden=128, points=100) for tasks in TASKS]
    return _growth(TASKS, jobs, rounds)


def growth_steps(rounds: int) -> dict[str, Any]:
    """Time against the number of inner steps."""
    return _growth(STEPS, [sinusoid_job(tasks=4, num_steps=steps, hidden=128, points=100) for steps in STEPS], rounds)


def memory_tasks(rounds: int) -> dict[str, Any]:
    """Temporary memory against the number of tasks, four at a time."""
    del rounds
    costs = [jmeta.cost(*sinusoid_job(tasks=tasks, micro_batch=4, hidden=128, points=100)) for tasks in TASKS]
    megabytes = [cost.temporary_bytes / 1e6 for cost in costs]
    return {"sizes": TASKS, "megabytes": megabytes, "slope": slope(TASKS, megabytes)}


def share_of_rate(rounds: int) -> dict[str, Any]:
    """The rate of the convolutional step, on a CPU over its cores, and that of a 2048 product, in turn; products as traced."""
    devices, flops = devices_for(IMAGE_TASKS), jmeta.cost(*convolutional_job()).flops
    job = convolutional_job(devices=devices)
    square = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul).lower(square, square).compile()
    step = compiled(job)
    times = seconds_in_turn([step, lambda: jax.block_until_ready(product(square, square))], rounds)
    rates = np.array([flops, 2 * 2048**3]) / times / 1e9
    return {
        "devices": devices,
        "step_ms": 1e3 * float(np.median(times[:, 0])),
        "step_gflop": flops / 1e9,
        "step_gflops_per_second": float(np.median(rates[:, 0])),
        "product_gflops_per_second": float(np.median(rates[:, 1])),
        **_spread("share", rates[:, 0] / rates[:, 1]),
    }


def over_cores(rounds: int) -> dict[str, Any]:
    """The time of the convolutional step with its tasks laid over the cores, over that on one device, in turn."""
    found = {"devices": devices_for(IMAGE_TASKS)}
    for name, num_steps in (("one_step_ratio", 1), ("five_steps_ratio", 5)):
        jobs = [convolutional_job(num_steps=num_steps, devices=devices) for devices in (1, found["devices"])]
        times = seconds_in_turn([compiled(job) for job in jobs], rounds)
        found |= _spread(name, times[:, 1] / times[:, 0])
    return found


def adjoints(rounds: int) -> dict[str, Any]:
    """The time of the convolutional step with 5 inner steps by other adjoints, over that by the default, in turn."""
    others = {
        "mixed_ratio": jmeta.unrolled(hessian_product="mixed"),
        "kept_ratio": jmeta.unrolled(rematerialise=False),
        "unroll_ratio": jmeta.unrolled(unroll=5),
    }
    jobs = [convolutional_job(num_steps=5, adjoint=adjoint) for adjoint in (None, *others.values())]
    times = seconds_in_turn([compiled(job) for job in jobs], rounds)
    spreads = [_spread(name, times[:, index] / times[:, 0]) for index, name in enumerate(others, start=1)]
    return {key: value for spread in spreads for key, value in spread.items()}


def bare_loop(rounds: int) -> dict[str, Any]:
    """What ``fit`` costs over the bare compiled loop."""
    return fit_overhead(num_steps=100 * max(rounds, 20))


def _growth(sizes: tuple[int, ...], jobs: list[Any], rounds: int) -> dict[str, Any]:
    times = seconds_in_turn([compiled(job) for job in jobs], rounds)
    slopes = np.array([slope(sizes, row) for row in times])
    return {"sizes": sizes, "ms": (1e3 * np.median(times, axis=0)).tolist(), **_spread("slope", slopes)}


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    return {name: float(np.median(values)), f"{name}_min": float(values.min()), f"{name}_max": float(values.max())}


QUESTIONS = {
    "growth-tasks": growth_tasks,
    "growth-steps": growth_steps,
    "memory-tasks": memory_tasks,
    "memory-steps": nested_memory,
    "cold-compile": cold_compile,
    "second-process": second_process,
    "share-of-rate": share_of_rate,
    "devices": over_cores,
    "adjoint": adjoints,
    "cost": cost_accuracy,
    "fit": bare_loop,
    "second-fit": second_fit,
    "sweep": sweep_of_rates,
    "prototypical-memory": prototypical_memory,
    "implicit-memory": implicit_memory,
    "heads": heads_on_one_input,
}
