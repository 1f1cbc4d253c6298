"""Generations of one network, each taught by the one before."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jmeta import Batch, transfer
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
MODEL = layer(3)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_each_generation_starts_anew_and_learns_what_the_one_before_says(x64):
    """Against NumPy: gradient descent on all examples, whose order in a batch does not matter."""
    data, steps, rate, temperature, share = labelled()._replace(weights=np.arange(8.0)), 7, 0.5, 2.0, 0.3
    teacher = MODEL.init(jax.random.key(9), data.x)
    found = transfer.self_distillation(
        MODEL,
        teacher,
        CROSS_ENTROPY,
        data,
        optax.sgd(rate),
        generations=3,
        steps=steps,
        temperature=temperature,
        share=share,
        seed=5,
    )
    x, labels = np.asarray(data.x), np.asarray(data.y)
    inputs = np.concatenate([x, np.ones((8, 1))], axis=1)
    before = np.concatenate([teacher["kernel"], teacher["bias"][None]])
    for key, generation in zip(jax.random.split(jax.random.key(5), 3), found, strict=True):
        start = MODEL.init(jax.random.split(key)[0], data.x)
        now, wanted = np.concatenate([start["kernel"], start["bias"][None]]), softmax(inputs @ before / temperature)
        for _ in range(steps):
            logits = inputs @ now
            hard, soft = (softmax(logits) - np.eye(3)[labels]) * data.weights[:, None] / 28, softmax(logits / temperature) - wanted
            now = now - rate * inputs.T @ ((1 - share) * hard + share * temperature * soft / 8)
        np.testing.assert_allclose(np.concatenate([generation["kernel"], generation["bias"][None]]), now, rtol=1e-8, atol=1e-12)
        before = now
    assert not np.allclose(found[0]["kernel"], found[1]["kernel"])


def test_masked_examples_are_never_drawn_and_images_are_bytes():
    x = np.random.default_rng(0).integers(0, 256, (6, 4), np.uint8)
    mask, y = np.arange(6) < 4, np.array([0, 1, 2, 0, -5, 99])
    params = MODEL.init(KEY, jnp.ones((1, 4)))
    options = {"generations": 1, "steps": 3, "batch_size": 2}
    padded = transfer.self_distillation(MODEL, params, CROSS_ENTROPY, Batch(x, y, mask), optax.sgd(0.1), **options)
    alone = transfer.self_distillation(MODEL, params, CROSS_ENTROPY, Batch(x[:4], y[:4]), optax.sgd(0.1), **options)
    chex.assert_trees_all_equal(padded, alone)
    floats = Batch((x[:4] / 255).astype(np.float32), y[:4])
    chex.assert_trees_all_close(
        alone, transfer.self_distillation(MODEL, params, CROSS_ENTROPY, floats, optax.sgd(0.1), **options), rtol=1e-4
    )


def test_one_compiled_loop_trains_all_generations():
    traces = []

    def apply(params, x, *, key=None, mask=None):
        traces.append(key is not None)
        return MODEL.apply(params, x)

    counted, data = MODEL._replace(apply=apply), Batch(rows(4), jnp.arange(8) % 3)
    options = {"steps": 2, "batch_size": 4}
    params = MODEL.init(KEY, data.x)
    transfer.self_distillation(counted, params, CROSS_ENTROPY, data, optax.sgd(0.1), generations=1, **options)
    one = sum(traces)
    traces.clear()
    transfer.self_distillation(counted, params, CROSS_ENTROPY, data, optax.sgd(0.1), generations=3, **options)
    assert sum(traces) == one > 0


def test_bad_input_is_refused():
    options = {"generations": 1, "steps": 1}
    with pytest.raises(ValueError, match="model must be a Model; got str"):
        transfer.self_distillation("model", {}, CROSS_ENTROPY, labelled(), optax.sgd(0.1), **options)
    for name in ("generations", "steps", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got 0"):
            transfer.self_distillation(MODEL, {}, CROSS_ENTROPY, labelled(), optax.sgd(0.1), **options | {name: 0})
    with pytest.raises(ValueError, match=r"share must be from 0 to 1; got 2"):
        transfer.self_distillation(MODEL, {}, CROSS_ENTROPY, labelled(), optax.sgd(0.1), share=2.0, **options)
