"""PCGrad against the paper's loop."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jmeta
from jmeta import aggregation

KEY = jax.random.key(0)


def naive(gradients, orders):
    """Algorithm 1 of Yu et al. on rows ``[tasks, d]``; ``orders[i]`` are the other tasks in the order they are met."""
    total = np.zeros(gradients.shape[1])
    for task, order in enumerate(orders):
        surgery = gradients[task].copy()
        for other in order:
            product = surgery @ gradients[other]
            if other != task and product < 0:
                surgery -= product / (gradients[other] @ gradients[other]) * gradients[other]
        total += surgery
    return total


def known(rows, key):
    """What an aggregator is told besides: no task of these is absent."""
    return {"losses": jnp.zeros(len(rows)), "present": jnp.ones(len(rows), bool), "key": key}


def combine(aggregator, rows, key=None):
    """Applies an aggregator to rows that are split over two leaves of a tree."""
    tree = {"matrix": rows[:, :4].reshape(-1, 2, 2), "vector": rows[:, 4:]}
    combined, _ = aggregator.combine(tree, aggregator.init(len(rows)), **known(rows, key))
    return np.concatenate([np.ravel(combined["matrix"]), combined["vector"]])


def draw(tasks, seed=0):
    return np.random.default_rng(seed).normal(size=(tasks, 6))


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
def test_in_task_order_it_is_the_paper_s_loop(x64, tasks):
    rows = draw(tasks)
    expected = naive(rows, [range(tasks)] * tasks)
    assert tasks < 3 or np.abs(expected - rows.sum(axis=0)).max() > 0.1
    np.testing.assert_allclose(combine(aggregation.pcgrad(shuffle=False), jnp.asarray(rows)), expected, rtol=1e-10)


def test_shuffled_it_is_the_loop_in_every_order_there_is(x64):
    """Three tasks meet the two others in one of two orders each: eight results, all of them drawn, and no other."""
    rows = -np.abs(draw(3)) * [[1], [-1], [-1]] + draw(3, seed=1)
    possible = [naive(rows, orders) for orders in itertools.product(*[[(b, c), (c, b)] for b, c in [(1, 2), (0, 2), (0, 1)]])]
    shuffled = jax.jit(lambda rows, key: combine_traced(aggregation.pcgrad(), rows, key))
    seen = set()
    for key in jax.random.split(KEY, 100):
        distances = [np.abs(np.asarray(shuffled(jnp.asarray(rows), key)) - result).max() for result in possible]
        assert min(distances) < 1e-10
        seen |= {index for index, distance in enumerate(distances) if distance < 1e-10}
    assert len({tuple(np.round(result, 8)) for result in possible}) > 1
    assert seen == set(range(8))


def combine_traced(aggregator, rows, key):
    return aggregator.combine({"rows": rows}, aggregator.init(len(rows)), **known(rows, key))[0]["rows"]


def test_two_tasks_have_a_closed_form_in_any_order(x64):
    """g1 + g2 - <g1, g2> (g1 / |g1|^2 + g2 / |g2|^2) where they conflict, the sum where they do not."""
    first, second = draw(2)
    second = second - 2 * max(first @ second, 0) / (first @ first) * first
    product = first @ second
    assert product < 0
    expected = first + second - product * (first / (first @ first) + second / (second @ second))
    np.testing.assert_allclose(combine(jmeta.pcgrad(), jnp.stack([first, second]), KEY), expected, rtol=1e-10)
    np.testing.assert_allclose(combine(jmeta.pcgrad(), jnp.stack([first, -second]), KEY), first - second, rtol=1e-12)


def test_a_task_is_not_projected_against_itself(x64):
    """Of the last of three unit vectors the other two leave one that has turned away from it."""
    degrees = np.array([170.0, 190.0, 0.0])
    rows = np.zeros((3, 6))
    rows[:, 0], rows[:, 5] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    # What is left of the first two cancels.
    expected = np.zeros(6)
    left = np.cos(np.radians(80)) * np.cos(np.radians(160))
    expected[[0, 5]] = left * np.cos(np.radians(80)), -left * np.sin(np.radians(80))
    np.testing.assert_allclose(combine(aggregation.pcgrad(shuffle=False), jnp.asarray(rows)), expected, atol=1e-12)


def test_a_zero_gradient_conflicts_with_nothing():
    rows = jnp.array([[1.0] * 6, [0.0] * 6, [-1.0, 2, 0, 0, 0, 0]])
    assert np.isfinite(combine(jmeta.pcgrad(), rows, KEY)).all()


def test_sum_and_mean(x64):
    rows = draw(4)
    np.testing.assert_allclose(combine(aggregation.sum(), jnp.asarray(rows)), rows.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(combine(aggregation.mean(), jnp.asarray(rows)), rows.mean(axis=0), rtol=1e-12)


def test_shuffling_needs_a_key():
    with pytest.raises(ValueError, match=r"key must be given to pcgrad\(shuffle=True\); got None"):
        combine(jmeta.pcgrad(), jnp.ones((2, 6)))


IN_ORDER = jax.jit(lambda rows: combine_traced(aggregation.pcgrad(shuffle=False), rows, None))


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_two_tasks_never_conflict_afterwards(seed):
    rows = draw(2, seed).astype(np.float32)
    # Rounding of products of order ten.
    assert (rows @ np.asarray(IN_ORDER(rows)) > -1e-5).all()


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_scaling_all_gradients_scales_the_result(seed, scale):
    rows, scale = draw(2, seed).astype(np.float32), np.float32(scale)
    np.testing.assert_allclose(IN_ORDER(scale * rows), scale * np.asarray(IN_ORDER(rows)), rtol=1e-4, atol=1e-5 * scale)


def test_own_aggregators_of_the_gramian_are_weights(x64):
    """``weighted_by_gramian`` gives the products of all leaves together and takes one weight per task."""
    rows = draw(3)
    seen = []

    def weigh(gramian, state, **known):
        return (seen.append((gramian, known)) or jnp.array([0.5, 0.0, 2.0]), state)

    half = aggregation.weighted_by_gramian(weigh)
    np.testing.assert_allclose(combine(half, jnp.asarray(rows)), 0.5 * rows[0] + 2 * rows[2], rtol=1e-12)
    np.testing.assert_allclose(seen[0][0], rows @ rows.T, rtol=1e-12)
    assert set(seen[0][1]) == {"losses", "present", "key"}
    assert isinstance(half, jmeta.Aggregator)


def test_a_map_from_the_gramian_may_remember(x64):
    """The state is made for the number of tasks, or for their names, and is what the map returned last."""
    count_steps = aggregation.weighted_by_gramian(
        lambda gramian, state, **known: (state, state + 1), init=lambda tasks: jnp.full(tasks, 2.0)
    )
    rows = jnp.asarray(draw(3))
    first, state = count_steps.combine({"rows": rows}, count_steps.init(3), **known(rows, KEY))
    second, _ = count_steps.combine({"rows": rows}, state, **known(rows, KEY))
    np.testing.assert_allclose(first["rows"], 2 * rows.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(second["rows"], 3 * rows.sum(axis=0), rtol=1e-12)


def test_a_gramian_of_nothing_is_refused():
    with pytest.raises(ValueError, match="gradients must hold a parameter to be compared by; got none"):
        aggregation.gramian({"a": {}, "b": None})


# Below one block, between one and two, and several blocks of 4096 with and without columns left over; 15 tasks take one product
# a block, 16 and 17 three.
@pytest.mark.parametrize("tasks", [1, 3, 15, 16, 17])
@pytest.mark.parametrize("length", [1, 4097, 8192, 12_289, 20_479])
def test_the_gramian_is_numpy_s_for_any_length(x64, tasks, length):
    rows = np.random.default_rng(0).normal(size=(tasks, length))
    tree = {"odd": jnp.asarray(rows[:, :0]).reshape(tasks, 0, 3), "long": jnp.asarray(rows)}
    # Another order of at most 20,479 products.
    np.testing.assert_allclose(jax.jit(aggregation.gramian)(tree), rows @ rows.T, rtol=1e-10, atol=1e-10)


def test_the_gramian_adds_up_leaves_of_all_shapes_and_is_mapped_and_differentiated(x64):
    shapes = [(40, 40), (40,), (), (3, 3, 1, 64), (100, 101)]
    tree = [jnp.asarray(np.random.default_rng(i).normal(size=(2, 4, *shape))) for i, shape in enumerate(shapes)]
    rows = np.concatenate([np.asarray(leaf).reshape(2, 4, -1) for leaf in tree], axis=2)
    np.testing.assert_allclose(jax.vmap(aggregation.gramian)(tree), rows @ rows.transpose(0, 2, 1), rtol=1e-10, atol=1e-10)
    gradient = jax.grad(lambda leaf: aggregation.gramian([leaf]).sum())(tree[-1][0])
    expected = 2 * np.asarray(tree[-1][0]).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(gradient, np.broadcast_to(expected, gradient.shape), rtol=1e-10)
