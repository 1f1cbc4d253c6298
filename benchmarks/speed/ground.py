"""What the ground of the families costs: a second training, a sweep, prototypes of many classes, implicit derivatives, heads."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from benchmarks.speed.jobs import Job, compiled, seconds_in_turn, sinusoid_job
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05)
SWEPT_STEPS = 2_000


def second_fit(rounds: int) -> dict[str, Any]:
    """Seconds from the call of a second ``fit`` of the same step, of sinusoid MAML, to the end of its first step."""
    step, state, _ = sinusoid_job()
    tasks = jmeta.batch_tasks(jmeta.sinusoid(), 25)
    state = jmeta.fit(step, state, tasks, num_steps=1, progress=False).state
    times = []
    for count in range(2, rounds + 2):
        begin = time.perf_counter()
        state = jax.block_until_ready(jmeta.fit(step, state, tasks, num_steps=count, progress=False).state)
        times.append(time.perf_counter() - begin)
    return {"seconds": float(np.median(times)), "seconds_max": max(times)}


def sweep_of_rates(rounds: int) -> dict[str, Any]:
    """Time of a sweep of 8 inner rates of sinusoid MAML in one program, over 8 runs one after another, compilation included.

    25 tasks of 10 + 10 examples, a perceptron 40-40-1, one inner step, Adam, 2,000 steps, validation on 100 tasks every 500.
    """
    model, tasks = jmeta.from_linen(MultilayerPerceptron((40, 40, 1))), jmeta.sinusoid()
    validation, optimizer = jmeta.sinusoid(shots=5, queries=20), optax.adam(1e-3)
    batches = jmeta.batch_tasks(tasks, 25)

    def trial(inner_rate: Any) -> jmeta.Trial:
        learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(inner_rate))

        def init(key: jax.Array) -> jmeta.TrainState:
            return jmeta.init_state(learner.init(key, tasks.sample(tasks.data, key)), optimizer, key)

        step = jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer)
        return jmeta.Trial(step, init, jmeta.validator(learner, validation, metric=jmeta.squared_error, batch_size=100))

    options = {"num_steps": SWEPT_STEPS, "steps_per_chunk": 500, "progress": False}
    ratios = []
    for _ in range(min(rounds, 3)):
        jax.clear_caches()
        begin = time.perf_counter()
        jmeta.sweep(trial, {"inner_rate": RATES}, batches, **options)
        middle = time.perf_counter()
        for rate in RATES:
            made = trial(rate)
            jmeta.fit(made.step, made.init(jax.random.key(0)), batches, validation=made.validation, **options)
        ratios.append((middle - begin) / (time.perf_counter() - middle))
    return {"ratio": float(np.median(ratios)), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def prototypical_memory(rounds: int) -> dict[str, Any]:
    """Temporary memory of the gradient of prototypical networks, 400 ways, 400 queries, 512 features."""
    del rounds
    encoder = jmeta.Model(lambda key, x: jnp.ones(512), lambda params, x, *, key=None, mask=None: x * params[None])
    learner, labels = jmeta.prototypical_networks(encoder), jnp.arange(400)
    support, query = (jmeta.Batch(jax.random.normal(jax.random.key(seed), (400, 512)), labels) for seed in range(2))
    episode = jmeta.Episode(support, query, jnp.ones(400, bool))
    gradient = jax.jit(jax.grad(lambda params, episode: learner.loss(params, jax.random.key(0), episode)[0]))
    memory = gradient.lower(jnp.ones(512), episode).compile().memory_analysis()
    return {"megabytes": memory.temp_size_in_bytes / 1e6}


def implicit_memory(rounds: int) -> dict[str, Any]:
    """Temporary memory of an implicit meta-gradient of a perceptron for 1, 16 and 128 inner steps."""
    del rounds
    model = jmeta.from_linen(MultilayerPerceptron((256, 256, 1)))
    tasks, steps = jmeta.sinusoid(), (1, 16, 128)
    episode = tasks.sample(tasks.data, jax.random.key(0))

    def bytes_of(num_steps: int) -> int:
        adjoint = jmeta.implicit(proximal_strength=1.0)
        learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.01), num_steps=num_steps, adjoint=adjoint)
        gradient = jax.jit(jax.grad(lambda params: learner.loss(params, jax.random.key(0), episode)[0]))
        return gradient.lower(learner.init(jax.random.key(0), episode)).compile().memory_analysis().temp_size_in_bytes

    found = [bytes_of(num_steps) for num_steps in steps]
    return {"steps": steps, "bytes": found, "ratio": found[-1] / found[0]}


def heads_on_one_input(rounds: int) -> dict[str, Any]:
    """FLOPs and time of a training step of hard sharing with 12 heads on one input, which is encoded once, over those with 1.

    FLOPs are those of the products as traced, and those that XLA counts in the compiled program.
    """
    counts = (1, 4, 12)
    jobs = [_heads_job(count) for count in counts]
    traced = [jmeta.cost(*job).flops for job in jobs]
    analyses = [jax.jit(step).lower(*given).compile().cost_analysis() for step, *given in jobs]
    times = seconds_in_turn([compiled(job) for job in (jobs[0], jobs[-1])], rounds)
    counted = [analysis["flops"] for analysis in analyses]
    return {
        "heads": counts,
        "megaflops": [flops / 1e6 for flops in traced],
        "compiled_megaflops": [flops / 1e6 for flops in counted],
        "ratio": traced[-1] / traced[0],
        "compiled_ratio": counted[-1] / counted[0],
        "time_ratio": float(np.median(times[:, 1] / times[:, 0])),
    }


def _heads_job(count: int) -> Job:
    """64 images 28 x 28, four convolutions of 64 channels with pooling, heads of one dense layer to 10 classes, Adam."""
    encoder, labels = jmeta.from_linen(ConvolutionalEncoder()), jnp.arange(64) % 10
    head = jmeta.Task(jmeta.from_linen(MultilayerPerceptron((10,))), optax.softmax_cross_entropy_with_integer_labels)
    model = jmeta.hard_parameter_sharing(encoder, {f"task {index}": head for index in range(count)})
    data = jmeta.Batch(jax.random.uniform(jax.random.key(0), (64, 28, 28, 1)), dict.fromkeys(model.names, labels))
    optimizer, weighting = optax.adam(1e-3), jmeta.equal_weighting()
    params = model.init(jax.random.key(1), data)
    step = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    return step, jmeta.init_state(params, optimizer, jax.random.key(2), tasks=model.names, weighting=weighting), data
