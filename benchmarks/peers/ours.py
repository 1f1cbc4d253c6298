"""The works in jmeta, the arrays that the peers are given, and the peer that is jax itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jmeta
from benchmarks.devices import devices_for, over_devices
from benchmarks.peers import ours_dense
from jmeta.nn import BatchStatistics, ConvolutionalEncoder, MultilayerPerceptron


class Contender(NamedTuple):
    """``gradient()`` at the initial parameters in the peers' order and layout, and ``run()``, ``steps`` times the work."""

    gradient: Callable[[], list[np.ndarray]]
    run: Callable[[], Any]
    steps: int = 1
    devices: int = 1


class Prepared(NamedTuple):
    """Ours, what runs beside it in this process, and the arrays of both."""

    ours: Contender
    inside: dict[str, Contender]
    arrays: dict[str, np.ndarray]


class PlainEncoder(nn.Module):
    """``ConvolutionalEncoder(pooling=False, normalization="batch")`` with the same parameters and XLA's own convolution."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images ``[n, height, width, channels]`` to features ``[n, d]``."""
        for _ in range(4):
            x = nn.relu(BatchStatistics()(nn.Conv(64, (3, 3), (2, 2))(x)))
        return x.reshape(x.shape[0], -1)


def prepare(work: dict[str, Any], data: str | None) -> Prepared:
    """Builds a work; ``data`` is a folder with Omniglot, None draws random images."""
    builders = {"maml": maml, "prototypical": prototypical, "aggregation": aggregation, "dense": dense}
    return builders[work["kind"]](work, data)


def maml(work: dict[str, Any], data: str | None) -> Prepared:
    """Builds MAML over sinusoids or images; images on the CPU one task at a time on each core, as the library advises there."""
    images = work["network"] == "convolutional"
    episodes = image_episodes(work, work["tasks"], data) if images else sinusoid_episodes(work["tasks"])
    head = jmeta.from_linen(MultilayerPerceptron((5,) if images else (40, 40, 1)))
    encoder = jmeta.from_linen(ConvolutionalEncoder(pooling=False, normalization="batch"))
    model = jmeta.compose(encoder, head) if images else head
    params = model.init(jax.random.key(0), episodes.support.x[0])
    loss_fn = optax.softmax_cross_entropy_with_integer_labels if images else jmeta.squared_error

    def objective(model: jmeta.Model) -> jmeta.Objective:
        learner = jmeta.maml(model, loss_fn, optax.sgd(work["inner_learning_rate"]), num_steps=work["inner_steps"])
        return jmeta.over_tasks(learner.loss)

    devices = devices_for(work["tasks"]) if images else 1
    micro_batch = devices if images and jax.default_backend() == "cpu" else None
    steps = work["steps_per_chunk"]
    own = contender_of(work, objective(model), params, episodes, micro_batch=micro_batch, steps=steps, devices=devices)
    plain = jmeta.compose(jmeta.from_linen(PlainEncoder(), mixes_rows=True), head)
    beside = {"jax-lax.conv-vmap": contender_of(work, objective(plain), params, episodes)} if images else {}
    return Prepared(own, beside, arrays_of(work, params, episodes))


def prototypical(work: dict[str, Any], data: str | None) -> Prepared:
    """Builds prototypical networks on one episode."""
    encoder = jmeta.from_linen(ConvolutionalEncoder(normalization="batch"))
    learner = jmeta.prototypical_networks(encoder)
    episodes = image_episodes(work, 1, data)
    episode = jax.tree.map(lambda leaf: leaf[0], episodes)
    params = learner.init(jax.random.key(0), episode)
    own = contender_of(work, learner.loss, params, episode, steps=work["steps_per_chunk"])
    return Prepared(own, {}, arrays_of(work, params, episodes))


# How each is made for a number of tasks: as it is timed against TorchJD, and, where it draws orders, as it is compared.
AGGREGATORS: dict[str, Callable[..., jmeta.Aggregator]] = {
    "pcgrad": lambda tasks, shuffle: jmeta.pcgrad(shuffle=shuffle),
    "gradvac": lambda tasks, shuffle: jmeta.gradvac(shuffle=shuffle),
    "graddrop": lambda tasks, shuffle: jmeta.graddrop(),
    "imtl_g": lambda tasks, shuffle: jmeta.imtl_g(),
    "aligned_mtl": lambda tasks, shuffle: jmeta.aligned_mtl(preference=1 / tasks),
    "mgda": lambda tasks, shuffle: jmeta.mgda(),
    "cagrad": lambda tasks, shuffle: jmeta.cagrad(rescale=False),
    "nash_mtl": lambda tasks, shuffle: jmeta.nash_mtl(),
    "upgrad": lambda tasks, shuffle: jmeta.upgrad(),
    "dual_projection": lambda tasks, shuffle: jmeta.dual_projection(),
    "fairgrad": lambda tasks, shuffle: jmeta.fairgrad(),
    "cr_mogm": lambda tasks, shuffle: jmeta.cr_mogm(jmeta.pcgrad(shuffle=shuffle)),
}


def aggregation(work: dict[str, Any], data: str | None) -> Prepared:
    """Builds an aggregator over correlated gradients ``[tasks, parameters]``; what it remembers goes from call to call."""
    del data
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((8, work["parameters"]), np.float32)
    gradients = generator.standard_normal((work["tasks"], 8), np.float32) @ shared
    gradients += generator.standard_normal(gradients.shape, np.float32)
    matrix, key = jnp.asarray(gradients), jax.random.key(0)
    # Both sides draw random orders when timed; they are compared in the order of the tasks.
    compared, timed = (aggregator_of(work["aggregator"], work["tasks"], shuffle=shuffle) for shuffle in (False, True))
    state = timed.init(work["tasks"])

    def run() -> jax.Array:
        nonlocal state
        combined, state = timed.combine(matrix, state, key)
        return combined

    def gradient() -> list[np.ndarray]:
        return [np.asarray(compared.combine(matrix, compared.init(work["tasks"]), key)[0])]

    draws = np.asarray(jax.random.uniform(key, matrix.shape[1:]))
    return Prepared(Contender(gradient, run), {}, {"gradients": gradients, "draws": draws})


def aggregator_of(name: str, tasks: int, *, shuffle: bool) -> jmeta.Aggregator:
    """Makes an aggregator with ``combine(gradients [tasks, parameters], state, key)`` compiled, all tasks present."""
    aggregator = AGGREGATORS[name](tasks, shuffle)
    known = {"losses": jnp.ones(tasks), "present": jnp.ones(tasks, bool)}
    return aggregator._replace(
        combine=jax.jit(lambda gradients, state, key: aggregator.combine(gradients, state, key=key, **known))
    )


def dense(work: dict[str, Any], data: str | None) -> Prepared:
    """Builds the training of a hard-shared model by ``fit``, which draws its batches on the device and goes on where it was."""
    del data
    arrays, steps = ours_dense.arrays(work), work["steps_per_run"]
    gradient, params, step, state, batches = ours_dense.training(work, arrays)

    def run() -> Any:
        nonlocal state
        options = {"steps_per_chunk": work["steps_per_chunk"], "progress": False}
        state = jmeta.fit(step, state, batches, num_steps=int(state.step) + steps, **options).state
        return state

    arrays |= {f"params_{index}": array for index, array in enumerate(ours_dense.exchanged(params))}
    return Prepared(Contender(lambda: ours_dense.exchanged(gradient(params)), run, steps), {}, arrays)


def contender_of(
    work: dict[str, Any],
    objective: Any,
    params: Any,
    data: Any,
    *,
    micro_batch: int | None = None,
    steps: int = 1,
    devices: int = 1,
) -> Contender:
    """Builds whole compiled steps with Adam, their state donated, and the gradient that they take.

    The steps run under one scan, as in ``fit``; each is given its own copy of the data, so that nothing is computed once for all.
    """
    optimizer = optax.adam(work["learning_rate"])
    step = jmeta.make_step(objective, optimizer, micro_batch=micro_batch)
    chunk = jax.jit(lambda state, data: jax.lax.scan(step, state, data), donate_argnums=0)
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * steps), data)
    if devices > 1:
        data, copies = over_devices(data, devices, "task"), over_devices(copies, devices, None, "task")
        params = over_devices(params, devices)
    differentiate = jax.jit(jmeta.value_and_gradient(objective, micro_batch=micro_batch))
    state = jmeta.init_state(jax.tree.map(jnp.copy, params), optimizer, jax.random.key(1))

    def gradient() -> list[np.ndarray]:
        return exchanged(work, differentiate(params, jax.random.key(0), data)[1])

    def advance() -> Any:
        nonlocal state
        state, metrics = chunk(state, copies)
        return state.params, metrics

    return Contender(gradient, advance, steps, devices)


def exchanged(work: dict[str, Any], params: Any) -> list[np.ndarray]:
    """Orders parameters, or gradients, as PyTorch has them: ``[out, in, ...]`` weights, layer by layer.

    A SAME convolution of stride 2 pads an even size at its end only, and PyTorch's ``padding=1`` makes use only of the padding at
    the start: mirrored images and windows make them equal, so that PyTorch need not pad first.
    """
    params = jax.tree.map(np.asarray, params)
    mirror = slice(None, None, -1 if work["network"] == "convolutional" else None)
    found, encoder = [], getattr(params, "encoder", params)
    for layer in range(4 if "Conv_0" in encoder else 0):
        convolution, norm = encoder[f"Conv_{layer}"], encoder[f"BatchStatistics_{layer}"]
        found += [convolution["kernel"][mirror, mirror].transpose(3, 2, 0, 1), convolution["bias"], norm["scale"], norm["bias"]]
    if work["network"] == "convolutional":
        head = params.head["Dense_0"]
        kernel = head["kernel"].reshape(2, 2, 64, -1)[mirror, mirror]
        found += [kernel.transpose(3, 2, 0, 1).reshape(-1, 256), head["bias"]]
    for layer in range(3 if work["network"] == "perceptron" else 0):
        found += [params[f"Dense_{layer}"]["kernel"].T, params[f"Dense_{layer}"]["bias"]]
    return [np.ascontiguousarray(array) for array in found]


def arrays_of(work: dict[str, Any], params: Any, episodes: jmeta.Episode) -> dict[str, np.ndarray]:
    """Gathers what the peers need, named as they read it."""
    mirror = slice(None, None, -1 if work["network"] == "convolutional" else None)
    arrays = {f"params_{index}": array for index, array in enumerate(exchanged(work, params))}
    for name, batch in (("support", episodes.support), ("query", episodes.query)):
        x, y = np.asarray(batch.x), np.asarray(batch.y)
        arrays[f"{name}_x"] = np.ascontiguousarray(x[:, :, mirror, mirror]) if x.ndim == 5 else x
        arrays[f"{name}_y"] = y.astype(np.int64) if np.issubdtype(y.dtype, np.integer) else y
    return arrays


def sinusoid_episodes(tasks: int) -> jmeta.Episode:
    """Draws sinusoids with 10 support and 10 query points."""
    sampler = jmeta.batch_tasks(jmeta.sinusoid(shots=10, queries=10), tasks)
    return jax.tree.map(jnp.asarray, sampler.sample(sampler.data, jax.random.key(2)))


def image_episodes(work: dict[str, Any], tasks: int, data: str | None) -> jmeta.Episode:
    """Draws episodes of Omniglot, or of random images."""
    ways, shots, queries = work["ways"], work["shots"], work["queries"]
    if data is not None:
        sampler = jmeta.batch_tasks(jmeta.omniglot(data, "train", ways=ways, shots=shots, queries=queries), tasks)
        return jax.tree.map(jnp.asarray, sampler.sample(sampler.data, jax.random.key(2)))

    def batch(rows: int, key: jax.Array) -> jmeta.Batch:
        images = jax.random.uniform(key, (tasks, ways * rows, 28, 28, 1))
        return jmeta.Batch(images, jnp.tile(jnp.repeat(jnp.arange(ways), rows), (tasks, 1)))

    # Images without a near tie in a pooled window, where rounding would choose another pixel: a gradient 1e-3 away, and as right.
    parts = batch(shots, jax.random.key(5)), batch(queries, jax.random.key(6))
    return jmeta.Episode(*parts, classes=jnp.ones((tasks, ways), bool))
