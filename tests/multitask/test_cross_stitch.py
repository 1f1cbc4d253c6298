"""Towers that mix after every stage, channel by channel."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from tests.multitask.models import KEY, TASKS, THREE, halving, initial, layer, outputs, rows

STAGES = [layer(4), layer(5)]


def with_units(params, change):
    """Changes every unit ``[tasks, tasks, channels]``, of which the last lies with the tasks in rows."""
    names = sorted(params.head)
    last = change(jnp.stack([params.head[name].encoder for name in names]))
    heads = {name: params.head[name]._replace(encoder=last[at]) for at, name in enumerate(names)}
    return jmeta.EncoderHead(params.encoder._replace(units=[change(unit) for unit in params.encoder.units]), heads)


def random_units(unit, *, to_one=False):
    found = jax.random.uniform(jax.random.key(unit.shape[-1]), unit.shape)
    return found / found.sum(axis=1, keepdims=True) if to_one else found


def by_hand(params, x, names):
    """A loop over stages, tasks and channels."""
    streams = {name: np.asarray(x) for name in names}
    units = [*params.encoder.units, np.stack([params.head[name].encoder for name in names])]
    for depth, unit in enumerate(units):
        found = {name: np.tanh(streams[name] @ params.encoder.towers[name][depth]) for name in names}
        streams = {name: np.zeros_like(found[name]) for name in names}
        for one, name in enumerate(names):
            for other, source in enumerate(names):
                for channel in range(unit.shape[-1]):
                    streams[name][..., channel] += unit[one, other, channel] * found[source][..., channel]
    return {name: streams[name] @ params.head[name].head for name in names}


@pytest.mark.parametrize("shape", [(3,), (4, 4, 3)])
def test_outputs_are_those_of_a_loop(x64, shape):
    model, x = jmeta.cross_stitch_networks(STAGES, THREE), rows(*shape)
    params = with_units(initial(model, x), random_units)
    chex.assert_trees_all_close(outputs(model, params, x), by_hand(params, x, model.names), rtol=1e-10)


def test_units_begin_as_the_authors_do():
    for tasks, diagonal, unit in ((2, 0.9, [[0.9, 0.1], [0.1, 0.9]]), (5, 0.8, np.full((5, 5), 0.05) + 0.75 * np.eye(5))):
        names = [f"task {at}" for at in range(tasks)]
        model = jmeta.cross_stitch_networks(STAGES, dict.fromkeys(names, TASKS["pose"]), diagonal=diagonal)
        params = initial(model, rows(3))
        np.testing.assert_allclose(params.encoder.units[0][..., 0], unit, rtol=1e-6)
        np.testing.assert_allclose(params.head[names[1]].encoder[:, 3], unit[1], rtol=1e-6)


def test_identity_units_make_independent_networks(x64):
    model, x = jmeta.cross_stitch_networks(STAGES, THREE), rows(3)
    params = with_units(initial(model, x), lambda unit: jnp.zeros_like(unit) + jnp.eye(3)[..., None])
    apart = jmeta.independent_networks(jmeta.chain(STAGES), THREE)
    own = {name: params.head[name]._replace(encoder=params.encoder.towers[name]) for name in THREE}
    chex.assert_trees_all_close(outputs(model, params, x), outputs(apart, jmeta.EncoderHead((), own), x), rtol=1e-10)


def test_equal_towers_and_units_whose_rows_sum_to_one_make_hard_sharing(x64):
    model, x = jmeta.cross_stitch_networks(STAGES, THREE), rows(3)
    params = with_units(initial(model, x), lambda unit: random_units(unit, to_one=True))
    tower = params.encoder.towers["pose"]
    equal = params._replace(encoder=params.encoder._replace(towers=dict.fromkeys(THREE, tower)))
    shared = jmeta.EncoderHead(tower, {name: params.head[name]._replace(encoder=()) for name in THREE})
    hard = jmeta.hard_parameter_sharing(jmeta.chain(STAGES), THREE)
    chex.assert_trees_all_close(outputs(model, equal, x), outputs(hard, shared, x), rtol=1e-10)


def test_units_learn_at_a_rate_of_their_own():
    model, x = jmeta.cross_stitch_networks(STAGES, TASKS), rows(3)
    params = initial(model, x)
    optimizer = optax.partition({"units": optax.sgd(100.0), "weights": optax.sgd(1.0)}, jmeta.unit_labels)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    units = [*updates.encoder.units, *(own.encoder for own in updates.head.values())]
    weights = [updates.encoder.towers, *(own.head for own in updates.head.values())]
    assert all((leaf == -100).all() for leaf in jax.tree.leaves(units))
    assert all((leaf == -1).all() for leaf in jax.tree.leaves(weights))
    with pytest.raises(ValueError, match="params must be those of cross-stitch or sluice networks; got EncoderHead"):
        jmeta.unit_labels(initial(jmeta.hard_parameter_sharing(layer(4), TASKS), x))


def test_one_task_alone_is_a_network(x64):
    alone, x = {"pose": TASKS["pose"]}, rows(3)
    model = jmeta.cross_stitch_networks(STAGES, alone)
    params = initial(model, x)
    features = jnp.tanh(jnp.tanh(x @ params.encoder.towers["pose"][0]) @ params.encoder.towers["pose"][1])
    np.testing.assert_allclose(model.predict(params, "pose", x), features @ params.head["pose"].head, rtol=1e-12)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match=r"stages must hold at least one Model; got an empty sequence"):
        jmeta.cross_stitch_networks([], TASKS)
    with pytest.raises(ValueError, match=r"diagonal must be from 0 to 1; got 1\.5"):
        jmeta.cross_stitch_networks(STAGES, TASKS, diagonal=1.5)
    data = {"kind": jmeta.Batch(rows(3), None), "pose": jmeta.Batch(rows(5), None)}
    with pytest.raises(ValueError, match=r"inputs must have one shape to go through all towers; got float32\[6, 5\] of pose and"):
        jmeta.cross_stitch_networks(STAGES, TASKS).init(KEY, data)
    flat = jmeta.Model(lambda key, x: (), lambda params, x, *, key=None, mask=None: x.sum(axis=-1))
    with pytest.raises(ValueError, match=r"stages\[1\] must give one array \[n, ..., channels\], whose channels are mixed; got"):
        initial(jmeta.cross_stitch_networks([layer(4), flat], TASKS), rows(3))
    with pytest.raises(ValueError, match=r"stages\[1\] must take what stages\[0\] gives, float32\[6, 4\]; got an error"):
        initial(jmeta.cross_stitch_networks([layer(4), halving(2)], TASKS), rows(3))
