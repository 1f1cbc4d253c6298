"""Training of a hard-shared model of two tasks by ``fit``: a work of its own, because its batches are drawn and not given."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jmeta

LAYERS = ("layers_0", "layers_2")


def arrays(work: dict[str, Any]) -> dict[str, np.ndarray]:
    """Draws examples of a regression and a classification of common inputs."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((work["examples"], work["features"]), np.float32)
    scores = np.tanh(x @ generator.standard_normal((work["features"], 1 + work["classes"]), np.float32))
    return {"x": x, "level": scores[:, :1], "kind": scores[:, 1:].argmax(axis=1)}


def training(work: dict[str, Any], data: dict[str, np.ndarray]) -> tuple[Any, Any, Any, Any, jmeta.Sampler]:
    """Builds the gradient of the first batch, the parameters, a step of Adam, its state and the sampler of batches."""
    width = work["width"]
    encoder = jmeta.from_linen(nn.Sequential([nn.Dense(width), nn.relu, nn.Dense(width), nn.relu]))
    level = jmeta.Task(jmeta.from_linen(nn.Dense(1)), jmeta.squared_error)
    kind = jmeta.Task(jmeta.from_linen(nn.Dense(work["classes"])), optax.softmax_cross_entropy_with_integer_labels)
    model = jmeta.hard_parameter_sharing(encoder, {"level": level, "kind": kind})
    targets = {name: data[name] for name in model.names}
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[: work["batch"]]), jmeta.Batch(data["x"], targets))
    params = model.init(jax.random.key(0), first)
    optimizer, weighting = optax.adam(work["learning_rate"]), jmeta.equal_weighting()
    step = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    state = jmeta.init_state(params, optimizer, jax.random.key(1), tasks=model.names, weighting=weighting)
    gradient = jax.jit(jax.grad(lambda params: model.joint_losses(params, jax.random.key(0), first)[0].sum()))
    return gradient, params, step, state, jmeta.minibatches(data["x"], targets, work["batch"])


def exchanged(params: Any) -> list[np.ndarray]:
    """Orders parameters, or gradients, as PyTorch has them: the layers of the encoder, then the heads by name."""
    layers = [params.encoder[name] for name in LAYERS] + [params.head[name].head for name in ("kind", "level")]
    return [np.ascontiguousarray(array) for layer in layers for array in (np.asarray(layer["kernel"]).T, layer["bias"])]
