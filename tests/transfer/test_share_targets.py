"""Targets of one task that stand for those of another."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, transfer
from tests.transfer.networks import KEY, layer, rows

MAP = transfer.label_map([0, 0, 1])
BREEDS, PETS = np.array([2, -1, 1, 0, -1]), np.array([-1, 1, 0, -9, 7])
WEIGHTS = {"breed": np.array([0.5, 0.0, 1.0, 2.0, 0.0]), "pet": np.array([0.0, 3.0, 1.0, 0.0, 0.0])}
BATCH = Batch(np.ones((5, 4)), {"breed": BREEDS, "pet": PETS}, None, WEIGHTS)
SHARED = {"pet": ("breed", MAP.coarse_labels)}


@pytest.mark.parametrize("compiled", [False, True], ids=["on a set", "under jit"])
def test_what_a_task_lacks_is_taken_from_another_and_nothing_else_changes(compiled):
    share = lambda batch: transfer.share_targets(batch, SHARED)  # noqa: E731
    found = (jax.jit(share) if compiled else share)(BATCH)
    np.testing.assert_array_equal(found.y["pet"], [1, 1, 0, 0, -1])
    np.testing.assert_array_equal(found.weights["pet"], [0.5, 3, 1, 2, 0])
    for name in ("y", "weights"):
        np.testing.assert_array_equal(getattr(found, name)["breed"], getattr(BATCH, name)["breed"])
    np.testing.assert_array_equal(BATCH.weights["pet"], [0, 3, 1, 0, 0])
    few = share(BATCH._replace(y={"breed": BREEDS, "pet": PETS.astype(np.int8)}))
    assert few.y["pet"].dtype == np.int8


def test_tasks_of_one_space_complete_each_other_from_what_there_was_before():
    """Maps of numbers with several entries, absent ones NaN."""
    left, right = np.array([[1.0, np.nan], [2.0, 3.0]], np.float32), np.array([[np.nan, 5.0], [np.nan, 6.0]], np.float32)
    weights = {"left": np.isfinite(left).astype(np.float32), "right": np.isfinite(right).astype(np.float32)}
    double, half = (lambda y: 2 * y), (lambda y: y / 2)
    batch = Batch(np.ones((2, 4)), {"left": left, "right": right}, None, weights)
    found = transfer.share_targets(batch, {"left": ("right", half), "right": ("left", double)})
    np.testing.assert_array_equal(found.y["left"], [[1, 2.5], [2, 3]])
    np.testing.assert_array_equal(found.y["right"], [[2, 5], [4, 6]])
    assert all((leaf == 1).all() for leaf in found.weights.values())


def test_what_has_been_filled_is_not_handed_on():
    y, weights = {name: np.array([value]) for name, value in zip("abc", (4.0, np.nan, np.nan), strict=True)}, np.array([1.0])
    batch = Batch(np.ones((1, 4)), y, None, {"a": weights, "b": 0 * weights, "c": 0 * weights})
    found = transfer.share_targets(batch, {"b": ("a", lambda y: y), "c": ("b", lambda y: y)})
    assert [float(found.weights[name][0]) for name in "abc"] == [1, 1, 0]


def test_a_task_that_is_not_there_gets_all_of_its_targets():
    without = BATCH._replace(y={"breed": BREEDS}, weights={"breed": WEIGHTS["breed"]})
    found = transfer.share_targets(without, SHARED)
    np.testing.assert_array_equal(found.y["pet"], [1, -1, 0, 0, -1])
    np.testing.assert_array_equal(found.weights["pet"], WEIGHTS["breed"])
    whole = transfer.share_targets(without._replace(weights=None), SHARED)
    assert whole.weights is None
    np.testing.assert_array_equal(whole.y["pet"], [1, -1, 0, 0, -1])
    whole = BATCH._replace(y={"breed": np.array([2, 0, 1, 0, 2]), "pet": PETS}, weights={"pet": WEIGHTS["pet"]})
    partly = transfer.share_targets(whole, SHARED)
    np.testing.assert_array_equal(partly.weights["pet"], [1, 3, 1, 1, 1])


def test_heads_learn_from_each_other_s_targets(x64):
    """Losses and gradients are those of a set whose labels were known."""
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    tasks = {"breed": jmeta.Task(layer(3), cross_entropy), "pet": jmeta.Task(layer(2), cross_entropy)}
    model, x = jmeta.hard_parameter_sharing(layer(4, jnp.tanh), tasks), np.asarray(rows(4, count=5))
    batch = BATCH._replace(x=x)
    params = model.init(KEY, batch)
    complete = batch._replace(
        y={"breed": BREEDS, "pet": np.array([1, 1, 0, 0, 0])}, weights=WEIGHTS | {"pet": np.array([0.5, 3, 1, 2, 0])}
    )
    differentiate = jax.jit(jax.value_and_grad(lambda params, batch: model.joint_losses(params, KEY, batch)[0].sum()))
    shared = differentiate(params, transfer.share_targets(batch, SHARED))
    chex.assert_trees_all_close(shared, differentiate(params, complete), rtol=1e-10)
    assert not np.allclose(shared[0], differentiate(params, batch)[0])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="batch must have targets and weights by name; got ndarray"):
        transfer.share_targets(BATCH._replace(y=BREEDS), SHARED)
    with pytest.raises(ValueError, match="batch must have targets and weights by name"):
        transfer.share_targets(BATCH._replace(weights=np.ones(5)), SHARED)
    with pytest.raises(ValueError, match=r"maps must take targets of tasks among \['breed', 'pet'\]; got \['bread'\]"):
        transfer.share_targets(BATCH, {"pet": ("bread", MAP.coarse_labels)})
    sentence = "maps must fill targets that a task lacks, of weight 0; got 'pet', which has no weights"
    for weights in (None, {"breed": WEIGHTS["breed"]}):
        with pytest.raises(ValueError, match=sentence):
            transfer.share_targets(BATCH._replace(weights=weights), SHARED)
    wanted = r"targets of 'pet', int.*\[5\] with weights float.*\[5\], of those of 'breed'"
    with pytest.raises(ValueError, match=rf"maps must make {wanted}; got .*\[5, 3\] with weights"):
        transfer.share_targets(BATCH, {"pet": ("breed", lambda labels: jax.nn.one_hot(labels, 3))})
    with pytest.raises(ValueError, match=r"batch.x and batch.y must have one row per example"):
        transfer.share_targets(BATCH._replace(x=np.ones((4, 4))), SHARED)
