"""Adapters of low rank."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, Episode, transfer
from jmeta.transfer import Factors, LowRank
from tests.transfer.networks import KEY, labelled, layer, rows

MODEL = jmeta.chain([layer(6, jnp.tanh), layer(3)])


def is_factor(path):
    return path.startswith("factors/")


def test_it_starts_as_the_network_and_moves_by_the_product(x64):
    model, x = transfer.low_rank(MODEL, 2), rows(4)
    params = model.init(KEY, x)
    np.testing.assert_array_equal(model.apply(params, x), MODEL.apply(params.base, x))
    assert [leaf.shape for leaf in jax.tree.leaves(params.factors)] == [(4, 2), (2, 6), (6, 2), (2, 3)]
    moved = params._replace(factors=jax.tree.map(lambda leaf: leaf + 0.1, params.factors))
    merged = transfer.merge_low_rank(moved)
    for at in range(2):
        left, right = moved.factors[at]["kernel"]
        np.testing.assert_allclose(merged[at]["kernel"], params.base[at]["kernel"] + left @ right, rtol=1e-12)
        np.testing.assert_array_equal(merged[at]["bias"], params.base[at]["bias"])
    np.testing.assert_allclose(model.apply(moved, x), MODEL.apply(merged, x), rtol=1e-12)


def test_the_base_has_no_gradient_and_the_factors_that_of_the_chain_rule(x64):
    model, data = transfer.low_rank(MODEL, 2), labelled()
    params = model.init(KEY, data.x)
    params = params._replace(factors=jax.tree.map(lambda leaf: leaf + 0.1, params.factors))
    loss_fn = optax.softmax_cross_entropy_with_integer_labels
    slope = jax.jit(jax.grad(lambda params: transfer.supervised(model, loss_fn)(params, KEY, data)[0]))(params)
    whole = jax.jit(jax.grad(lambda params: transfer.supervised(MODEL, loss_fn)(params, KEY, data)[0]))
    of_whole = whole(transfer.merge_low_rank(params))
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope.base))
    for at in range(2):
        (left, right), gradient = params.factors[at]["kernel"], of_whole[at]["kernel"]
        np.testing.assert_allclose(slope.factors[at]["kernel"].left, gradient @ right.T, rtol=1e-9)
        np.testing.assert_allclose(slope.factors[at]["kernel"].right, left.T @ gradient, rtol=1e-9)


def test_only_the_factors_train():
    model, data = transfer.low_rank(MODEL, 1), labelled()
    optimizer = jmeta.trainable(optax.adamw(0.1), is_factor)
    params = model.init(KEY, data.x)
    objective = transfer.supervised(model, optax.softmax_cross_entropy_with_integer_labels)
    step, state = jax.jit(jmeta.make_step(objective, optimizer)), jmeta.init_state(params, optimizer, KEY)
    losses = []
    for _ in range(30):
        state, metrics = step(state, data)
        losses.append(metrics["loss"])
    chex.assert_trees_all_equal(state.params.base, params.base)
    assert losses[-1] < 0.7 * losses[0]


def test_factors_may_be_what_an_inner_loop_adapts(x64):
    """MAML adapts the factors alone, and its meta-gradient is that of central differences."""
    model = transfer.low_rank(MODEL, 2)
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), adapts=is_factor)
    episode = Episode(Batch(rows(4), rows(3, seed=2)), Batch(rows(4, seed=3), rows(3, seed=4)))
    params = learner.init(KEY, episode)
    adapted = learner.adapt(params, KEY, episode.support)
    assert adapted.base == [{"bias": None, "kernel": None}] * 2
    assert adapted.factors[0]["kernel"].right.any()
    jmeta.testing.check_gradient(
        lambda factors, key, data, *, step=0: learner.loss(params._replace(factors=factors), key, data, step=step),
        params.factors,
        KEY,
        episode,
        tolerance=1e-6,
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 3, 16, 32), ((144, 2), (2, 32))), ((16, 8, 3, 3), ((16, 2), (2, 72))), ((40, 1), ((40, 1), (1, 1)))],
    ids=["channels last", "channels first", "one column"],
)
def test_a_tensor_is_the_thinnest_of_matrices(shape, expected):
    model = transfer.low_rank(jmeta.Model(lambda key, x: jnp.ones(shape), lambda params, x, *, key=None, mask=None: x), 2)
    params = jax.eval_shape(model.init, KEY, rows(1))
    assert tuple(leaf.shape for leaf in params.factors) == expected


def test_a_part_is_chosen_and_types_are_kept():
    params = transfer.low_rank(MODEL, 2, select=lambda path: path.startswith("1/")).init(KEY, rows(4))
    assert params.factors[0] == {"bias": None, "kernel": None}
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    chex.assert_trees_all_equal_dtypes(transfer.merge_low_rank(half), half.base)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1; got 0"):
        transfer.low_rank(MODEL, 0)
    with pytest.raises(ValueError, match="select must choose at least one leaf; got none of 0/bias"):
        transfer.low_rank(MODEL, 1, select=lambda path: False).init(KEY, rows(4))
    with pytest.raises(ValueError, match="select must choose at least one tensor of two axes or more; got none"):
        transfer.low_rank(MODEL, 1, select=lambda path: "bias" in path).init(KEY, rows(4))
    with pytest.raises(ValueError, match=r"factors must fit the tensor a \(4, 3\); got \(4, 2\) and \(2, 5\)"):
        transfer.merge_low_rank(LowRank({"a": jnp.ones((4, 3))}, {"a": Factors(jnp.ones((4, 2)), jnp.ones((2, 5)))}))
