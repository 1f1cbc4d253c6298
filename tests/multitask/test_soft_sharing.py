"""Penalties that tie networks of their own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from tests.multitask.models import KEY, TASKS, THREE, initial, layer, rows

PENALTIES = (jmeta.distance_between, jmeta.distance_to_mean, jmeta.trace_norm)


def towers(count=3, rank=None):
    """Of two leaves; of a rank that is not full, if one is given."""
    random = np.random.default_rng(0)
    stacked = {"a": random.normal(size=(count, 4, 3)), "b": random.normal(size=(count, 5))}
    if rank is not None:
        stacked["a"] = np.tensordot(random.normal(size=(count, rank)), random.normal(size=(rank, 4, 3)), 1)
    return {f"task {at}": {name: jnp.asarray(leaf[at]) for name, leaf in stacked.items()} for at in range(count)}


def rows_of(given):
    """Per leaf, a row for each tower."""
    return [np.stack([np.ravel(tower[name]) for tower in given.values()]) for name in ("a", "b")]


def test_distances_are_those_of_a_loop(x64):
    flat = np.concatenate(rows_of(towers()), axis=1)
    pairs = sum(((flat[one] - flat[other]) ** 2).sum() for one in range(3) for other in range(one))
    mean = ((flat - flat.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(jmeta.distance_between(towers()), pairs, rtol=1e-12)
    np.testing.assert_allclose(jmeta.distance_to_mean(towers()), mean, rtol=1e-12)
    np.testing.assert_allclose(pairs, 3 * mean, rtol=1e-12)


@pytest.mark.parametrize("rank", [None, 1])
def test_the_trace_norm_is_numpy_s(x64, rank):
    expected = sum(np.linalg.svd(matrix, compute_uv=False).sum() for matrix in rows_of(towers(rank=rank)))
    np.testing.assert_allclose(jmeta.trace_norm(towers(rank=rank)), expected, rtol=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradients_agree_with_central_differences(x64, penalty):
    def objective(given, key, data, *, step=0):
        return penalty(given), {}

    testing.check_gradient(objective, towers(), KEY, None, tolerance=1e-7)


@pytest.mark.parametrize("equal", [True, False])
def test_the_derivative_of_the_trace_norm_at_equal_or_absent_weights_is_a_subgradient(x64, equal):
    """``|W + H| >= |W| + <G, H>`` for every H, which a derivative by the singular vectors of a zero would break."""
    one = np.random.default_rng(1).normal(size=6) * equal
    given = {f"task {at}": jnp.asarray(one) for at in range(3)}
    slope = jax.grad(jmeta.trace_norm)(given)
    chex.assert_tree_all_finite(slope)
    if equal:
        # One singular value: the derivative is the matrix over its length.
        chex.assert_trees_all_close(slope, jax.tree.map(lambda leaf: leaf / np.linalg.norm(one) / np.sqrt(3), given), rtol=1e-10)
    for seed in range(20):
        moved = {name: leaf + jax.random.normal(jax.random.key(seed), leaf.shape) for name, leaf in given.items()}
        along = sum(jnp.vdot(slope[name], moved[name] - given[name]) for name in given)
        assert jmeta.trace_norm(moved) >= jmeta.trace_norm(given) + along - 1e-12


def test_a_step_is_that_of_the_losses_and_the_penalty(x64):
    """Regularised multi-task learning: the sum of the losses and lambda R."""
    model, x = jmeta.independent_networks(layer(4), THREE), rows(3)
    data = jmeta.Batch(x, {"kind": jnp.arange(6) % 3, "pose": rows(2, seed=2), "size": rows(1, seed=3)})
    params = model.init(KEY, data)
    tie = jmeta.soft_parameter_sharing(jmeta.distance_to_mean, lambda step: 0.3 + step)
    optimizer = optax.chain(tie, optax.sgd(0.1))
    step = jax.jit(jmeta.make_step(model.joint_losses, optimizer, weighting=jmeta.equal_weighting()))
    state = jmeta.init_state(params, optimizer, KEY, tasks=model.names, weighting=jmeta.equal_weighting())
    after = step(state, data)[0].params

    def whole(params):
        stacked = jnp.stack([params.head[name].encoder for name in model.names])
        losses, _ = model.joint_losses(params, KEY, data)
        return losses.sum() / weight + 0.3 * jnp.square(stacked - stacked.mean(axis=0, keepdims=True)).sum()

    # What equal weights are is asked, not assumed.
    weights, _ = jmeta.equal_weighting().weigh((), jnp.ones(3), present=jnp.ones(3, bool), key=KEY, pullback=None)
    weight = 1 / weights[0]
    expected = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, params, jax.jit(jax.grad(whole))(params))
    chex.assert_trees_all_close(after, expected, rtol=1e-10)


def test_heads_of_one_shape_may_be_tied(x64):
    tasks = {name: jmeta.Task(layer(1, lambda x: x), jmeta.squared_error) for name in ("a", "b")}
    params = initial(jmeta.independent_networks(layer(4), tasks), rows(3))
    tie = jmeta.soft_parameter_sharing(jmeta.distance_between, 1.0, part=lambda own: own.head)
    updates, _ = tie.update(jax.tree.map(jnp.zeros_like, params), tie.init(params), params)
    assert not any(leaf.any() for own in updates.head.values() for leaf in jax.tree.leaves(own.encoder))
    apart = 2 * (params.head["a"].head - params.head["b"].head)
    np.testing.assert_allclose(updates.head["a"].head, apart, rtol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES[:2])
def test_one_tower_is_tied_to_nothing(penalty):
    value, slope = jax.value_and_grad(penalty)(towers(1))
    assert value == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope))


def test_what_cannot_be_tied_is_refused():
    data = {"kind": jmeta.Batch(rows(3), None), "pose": jmeta.Batch(rows(5), None)}
    params = jmeta.independent_networks(layer(4), TASKS).init(KEY, data)
    tie = jmeta.soft_parameter_sharing(jmeta.trace_norm, 1.0)
    with pytest.raises(ValueError, match=r"towers must have one structure to be tied; got float32\[5, 4\] of pose"):
        tie.update(params, tie.init(params), params)
    with pytest.raises(ValueError, match="params must be those of a multi-task model; got dict"):
        tie.update({}, tie.init({}), {"a": jnp.ones(1)})
