"""Models on a trunk of one's own: what a task computes, written out, and who draws what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from tests.multitask import trunks

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 3))


def linear(features):
    return jmeta.from_functions(lambda key, x: jax.random.normal(key, (x.shape[-1], features)), lambda params, x: x @ params)


def tasks():
    return {"a": jmeta.Task(linear(2), jmeta.squared_error), "b": jmeta.Task(linear(1), jmeta.squared_error)}


def by_hand(kind, params, name):
    own, head = params.head[name]
    return (own * (X @ params.encoder) if kind is trunks.scaled else (X + own[None]) @ params.encoder) @ head


@pytest.mark.parametrize("kind", [trunks.scaled, trunks.conditioned])
def test_outputs_and_losses_are_those_written_out(x64, kind):
    model, batch = kind(linear(4), tasks()), jmeta.Batch(jnp.asarray(X), {"a": jnp.ones((5, 2)), "b": jnp.zeros((5, 1))})
    params = model.init(KEY, batch)
    losses, _ = model.joint_losses(params, KEY, batch)
    for at, name in enumerate(model.names):
        expected = by_hand(kind, params, name)
        np.testing.assert_allclose(model.predict(params, name, batch.x), expected, rtol=1e-10)
        np.testing.assert_allclose(losses[at], np.square(expected - batch.y[name]).mean(), rtol=1e-10)


def test_every_part_draws_by_a_key_of_its_own_and_none_without():
    """The parts of two tasks add their draws to the outputs, and say which keys they had."""
    seen = []

    def drawn(x, key):
        if key is None:
            return x
        seen.append(jax.random.key_data(key).tolist())
        return x + jax.random.normal(key, x.shape)

    trunk = jmeta.Trunk(
        lambda key, x: jmeta.EncoderHead((), dict.fromkeys(x, ())),
        lambda params, representation, name, *, key=None, mask=None: drawn(representation, key),
        lambda shared, x, *, key=None, mask=None: drawn(x, key),
    )
    head = jmeta.Model(lambda key, x: (), lambda params, x, *, key=None, mask=None: drawn(x, key))
    model = jmeta.multitask_model(trunk, dict.fromkeys("ab", jmeta.Task(head, jmeta.squared_error)))
    batch = jmeta.Batch(jnp.asarray(X, jnp.float32), dict.fromkeys("ab", jnp.zeros((5, 3))))
    params = model.init(KEY, batch)
    np.testing.assert_array_equal(model.predict(params, "a", batch.x), batch.x)
    assert not seen
    model.joint_losses(params, KEY, batch)
    # One draw of the encoder, and two of each task.
    assert len(seen) == len({tuple(key) for key in seen}) == 5
    model.predict(params, "a", batch.x, key=KEY)
    assert len({tuple(key) for key in seen[5:]}) == 3


def test_a_trunk_needs_tasks_and_tasks_heads():
    with pytest.raises(ValueError, match="tasks must name at least one task; got an empty mapping"):
        trunks.scaled(linear(4), {})
    with pytest.raises(ValueError, match="head must be a Model; got function"):
        trunks.scaled(linear(4), {"a": jmeta.Task(lambda x: x, jmeta.squared_error)})
