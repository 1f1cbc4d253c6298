"""Towers that mix subspaces, and depths."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from tests.multitask.models import TASKS, THREE, initial, layer, outputs, rows
from tests.multitask.test_cross_stitch import with_units

STAGES = [layer(4), layer(4), layer(4)]


def shuffled(params):
    """Any units and depths: the initial ones say little."""
    count = iter(range(1000))

    def moved(leaf):
        return leaf + 0.3 * jax.random.normal(jax.random.key(next(count)), leaf.shape)

    own = {name: part._replace(encoder=jax.tree.map(moved, part.encoder)) for name, part in params.head.items()}
    return jmeta.EncoderHead(params.encoder._replace(units=jax.tree.map(moved, params.encoder.units)), own)


def by_hand(params, x, names, subspaces):
    streams, depths = {name: np.asarray(x) for name in names}, dict.fromkeys(names, 0.0)
    units = [*params.encoder.units, np.concatenate([params.head[name].encoder[0] for name in names])]
    for depth, unit in enumerate(units):
        found = [np.tanh(streams[name] @ params.encoder.towers[name][depth]) for name in names]
        parts = [part for stream in found for part in np.split(stream, subspaces, axis=-1)]
        mixed = [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in np.asarray(unit)]
        for at, name in enumerate(names):
            streams[name] = np.concatenate(mixed[at * subspaces : (at + 1) * subspaces], axis=-1)
            depths[name] = depths[name] + params.head[name].encoder[1][depth] * streams[name]
    return {name: depths[name] @ params.head[name].head for name in names}


@pytest.mark.parametrize("subspaces", [1, 2])
def test_outputs_are_those_of_a_loop(x64, subspaces):
    model, x = jmeta.sluice_networks(STAGES, THREE, subspaces=subspaces), rows(3)
    params = shuffled(initial(model, x))
    chex.assert_trees_all_close(outputs(model, params, x), by_hand(params, x, model.names, subspaces), rtol=1e-10)


def test_one_subspace_is_a_cross_stitch_network_and_a_mixture_of_its_depths(x64):
    """Of all but the last depth nothing: then the depths of a cross-stitch network are its features."""
    model, x = jmeta.sluice_networks(STAGES, TASKS, subspaces=1), rows(3)
    params = shuffled(initial(model, x))
    stacked = [*params.encoder.units, jnp.concatenate([params.head[name].encoder[0] for name in model.names])]
    expected = dict.fromkeys(TASKS, 0.0)
    for depth in range(3):
        stitched = jmeta.cross_stitch_networks(STAGES[: depth + 1], TASKS)
        like = initial(stitched, x)
        units = iter(stacked[: depth + 1])
        towers = {name: params.encoder.towers[name][: depth + 1] for name in TASKS}
        like = with_units(like, lambda unit: jnp.broadcast_to(next(units)[..., None], unit.shape))  # noqa: B023
        # The last unit is changed first: it is the first one drawn there.
        order = [stacked[depth], *stacked[:depth]]
        units = iter(order)
        like = with_units(like, lambda unit: jnp.broadcast_to(next(units)[..., None], unit.shape))  # noqa: B023
        heads = {name: like.head[name]._replace(head=params.head[name].head) for name in TASKS}
        found = outputs(stitched, jmeta.EncoderHead(like.encoder._replace(towers=towers), heads), x)
        expected = {name: expected[name] + params.head[name].encoder[1][depth] * found[name] for name in TASKS}
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-10)


def test_it_begins_as_the_authors_do():
    params = initial(jmeta.sluice_networks(STAGES, TASKS), rows(3))
    np.testing.assert_allclose(params.encoder.units[1], np.full((4, 4), 0.25))
    np.testing.assert_allclose(params.head["pose"].encoder[0], np.full((2, 4), 0.25))
    np.testing.assert_allclose(params.head["pose"].encoder[1], [0.05, 0.05, 0.9], rtol=1e-6)
    unbalanced = initial(jmeta.sluice_networks(STAGES, TASKS, diagonal=0.85), rows(3))
    np.testing.assert_allclose(unbalanced.encoder.units[0], np.full((4, 4), 0.05) + 0.8 * np.eye(4), rtol=1e-6)


def test_orthogonality_is_that_of_the_columns_of_two_subspaces(x64):
    params = initial(jmeta.sluice_networks(STAGES, TASKS), rows(3))
    matrices = [np.asarray(leaf) for tower in params.encoder.towers.values() for leaf in tower]
    expected = sum(np.square(matrix[:, :2].T @ matrix[:, 2:]).sum() for matrix in matrices)
    np.testing.assert_allclose(jmeta.subspace_orthogonality(params), expected, rtol=1e-12)
    apart = sum(np.square(np.triu(matrix.T @ matrix, 1)).sum() for matrix in matrices)
    np.testing.assert_allclose(jmeta.subspace_orthogonality(params, subspaces=4), apart, rtol=1e-12)


def test_units_are_labelled(x64):
    labels = jmeta.unit_labels(initial(jmeta.sluice_networks(STAGES, TASKS), rows(3)))
    assert set(jax.tree.leaves(labels.encoder.towers)) == {"weights"}
    assert set(jax.tree.leaves((labels.encoder.units, [own.encoder for own in labels.head.values()]))) == {"units"}


@pytest.mark.parametrize("stages", [[layer(4), layer(6)], [layer(5), layer(5)]])
def test_channels_that_do_not_fit_are_refused(stages):
    with pytest.raises(ValueError, match="stages must give one shape, of channels that 2 subspaces divide; got"):
        initial(jmeta.sluice_networks(stages, TASKS), rows(3))
