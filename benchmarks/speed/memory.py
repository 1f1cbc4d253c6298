"""Memory: of a meta-gradient through many inner steps, and what ``cost`` says against what the process takes."""

import json
import statistics
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import optax

import jmeta
from benchmarks.speed.jobs import seconds_in_turn
from jmeta.nn import MultilayerPerceptron

WIDTH, EXAMPLES, TASKS, STEPS = 256, 64, 4, 64


def nested_memory(rounds: int) -> dict[str, Any]:
    """Temporary memory and time of 64 inner steps by default, over those of plain reverse mode through the scan.

    A perceptron of four hidden layers of 256 with GELU, batch 64, 4 tasks at once.
    """
    programs = {}
    for name, adjoint in {"plain": jmeta.unrolled(rematerialise=False), "default": jmeta.unrolled()}.items():
        gradient, arguments = _meta_gradient(adjoint)
        programs[name] = gradient.lower(*arguments).compile(), arguments
    runs = [lambda pair=pair: jax.block_until_ready(pair[0](*pair[1])) for pair in programs.values()]
    times = seconds_in_turn(runs, rounds)
    plain, default = (program.memory_analysis().temp_size_in_bytes / 1e6 for program, _ in programs.values())
    time_ratios = times[:, 1] / times[:, 0]
    return {
        "plain_megabytes": plain,
        "default_megabytes": default,
        "memory_ratio": default / plain,
        "time_ratio": float(np.median(time_ratios)),
        "time_ratio_min": float(time_ratios.min()),
        "time_ratio_max": float(time_ratios.max()),
    }


def cost_accuracy(rounds: int) -> dict[str, Any]:
    """The rise of a warmed process's peak memory over what ``cost`` says, for a step with over 1 GB of temporary memory."""
    code = "import json; from benchmarks.speed.memory import measured_memory; print(json.dumps(measured_memory()))"
    found = []
    for _ in range(min(rounds, 3)):
        ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        found.append(json.loads(ended.stdout.splitlines()[-1]))
    ratios = [entry["measured_bytes"] / entry["expected_bytes"] for entry in found]
    return found[0] | {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def measured_memory() -> dict[str, int]:
    """Runs a compiled step in this process, whose peak memory is set back first, or read from the device's own counter.

    64 tasks at once, 64 inner steps, nothing rematerialised. Setting the peak back needs Linux.
    """
    learner = jmeta.maml(
        jmeta.from_linen(MultilayerPerceptron((256, 256, 1))),
        jmeta.squared_error,
        optax.sgd(1e-3),
        num_steps=64,
        adjoint=jmeta.unrolled(rematerialise=False),
    )
    tasks = jmeta.sinusoid(shots=10, queries=10)
    optimizer = optax.adam(1e-3)
    params = learner.init(jax.random.key(0), tasks.sample(tasks.data, jax.random.key(0)))
    state = jmeta.init_state(params, optimizer, jax.random.key(1))
    data = jmeta.batch_tasks(tasks, 64).sample(tasks.data, jax.random.key(2))
    step = jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer)
    cost = jmeta.cost(step, state, data)
    program = jax.jit(step, donate_argnums=0).lower(state, data).compile()
    jax.block_until_ready((state, data))
    before = _peak_memory(reset=True)
    jax.block_until_ready(program(state, data))
    expected = (cost.temporary_bytes or 0) + (cost.output_bytes or 0) - (cost.aliased_bytes or 0)
    return {"expected_bytes": expected, "measured_bytes": _peak_memory() - before}


def _peak_memory(*, reset: bool = False) -> int:
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["bytes_in_use" if reset else "peak_bytes_in_use"]
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def _meta_gradient(adjoint: jmeta.Adjoint) -> tuple[Any, Any]:
    model = jmeta.from_linen(MultilayerPerceptron((WIDTH,) * 5, activation=jax.nn.gelu))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.01), num_steps=STEPS, adjoint=adjoint)
    support, query = (jmeta.Batch(*jax.random.normal(jax.random.key(seed), (2, TASKS, EXAMPLES, WIDTH))) for seed in range(2))
    episodes = jmeta.Episode(support, query)
    params = learner.init(jax.random.key(2), jax.tree.map(lambda leaf: leaf[0], episodes))
    objective = jmeta.over_tasks(learner.loss)
    return jax.jit(jax.grad(lambda params, episodes: objective(params, jax.random.key(3), episodes)[0])), (params, episodes)
