"""Networks that have nothing in common."""

import chex
import jax.numpy as jnp
import optax
import pytest

import jmeta
from tests.multitask.models import KEY, TASKS, initial, layer, outputs, rows


def test_each_task_has_a_network_of_its_own(x64):
    encoder, x = layer(4), rows(3)
    model = jmeta.independent_networks(encoder, TASKS)
    params = initial(model, x)
    own = {name: params.head[name].encoder for name in TASKS}
    assert not jnp.allclose(own["kind"], own["pose"])
    expected = {name: jnp.tanh(x @ own[name]) @ params.head[name].head for name in TASKS}
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-12)


def test_inputs_may_differ_in_shape():
    model = jmeta.independent_networks(layer(4), TASKS)
    data = {"kind": jmeta.Batch(rows(3), jnp.arange(6) % 3), "pose": jmeta.Batch(rows(5, count=2), rows(2, count=2))}
    params = model.init(KEY, data)
    assert {name: part.encoder.shape for name, part in params.head.items()} == {"kind": (3, 4), "pose": (5, 4)}
    losses, _ = jmeta.task_losses(model.objectives)(params, KEY, data)
    assert losses.shape == (2,)


def test_surgery_on_what_is_not_shared_is_refused(x64):
    model, x = jmeta.independent_networks(layer(4), TASKS), rows(3)
    data = jmeta.Batch(x, {"kind": jnp.arange(6) % 3, "pose": rows(2, seed=2)})
    params = model.init(KEY, data)
    surgery = jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1), own=jmeta.aggregation.sum())
    step = jmeta.make_step(jmeta.joint_gradients(model.joint_losses), surgery)
    with pytest.raises(ValueError, match="gradients must hold a parameter to be compared by; got none: the tasks share nothing"):
        step(jmeta.init_state(params, surgery, KEY, tasks=model.names), data)
