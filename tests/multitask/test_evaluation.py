"""The losses that a training of several tasks is chosen by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta

TASKS = {
    "height": jmeta.Task(jmeta.from_linen(linen.Dense(2)), jmeta.squared_error),
    "kind": jmeta.Task(jmeta.from_linen(linen.Dense(3)), optax.softmax_cross_entropy_with_integer_labels),
}


class Dropping(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dropout(0.5, deterministic=not train)(linen.Dense(4)(x))


@pytest.fixture(scope="module")
def trained():
    model = jmeta.hard_parameter_sharing(jmeta.from_linen(Dropping()), TASKS)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(11, 5)).astype(np.float32), random.normal(size=(11, 2)).astype(np.float32)
    joint = jmeta.Batch(x, {"height": y, "kind": np.arange(11) % 3})
    return model, model.init(jax.random.key(0), joint), joint


def by_hand(params, joint, rows):
    """Without dropout, over some rows."""
    dense, heads = params.encoder["Dense_0"], params.head
    features = joint.x @ dense["kernel"] + dense["bias"][None]
    height, kind = (features @ heads[name].head["kernel"] + heads[name].head["bias"][None] for name in TASKS)
    logits = jax.nn.log_softmax(kind)
    return {
        "height/loss": jnp.square(height - joint.y["height"])[rows].mean(),
        "kind/loss": -logits[jnp.arange(11), joint.y["kind"]].mean(),
    }


@pytest.mark.parametrize("batch_size", [4, 100])
def test_the_validation_is_the_loss_over_all_rows_without_dropout(trained, batch_size):
    model, params, joint = trained
    found = jmeta.task_validator(model, TASKS, joint, batch_size=batch_size)(params)
    expected = by_hand(params, joint, np.arange(11))
    expected["loss"] = (expected["height/loss"] + expected["kind/loss"]) / 2
    assert found == pytest.approx(jax.tree.map(float, expected), rel=1e-5)


def test_missing_labels_and_absent_tasks_are_left_out_of_the_validation(trained):
    model, params, joint = trained
    weights = {"height": np.arange(11) > 5, "kind": np.zeros(11)}
    found = jmeta.task_validator(model, TASKS, joint._replace(weights=weights))(params)
    height = float(by_hand(params, joint, np.arange(6, 11))["height/loss"])
    assert (found["loss"], found["height/loss"]) == pytest.approx((height, height), rel=1e-5)
    assert np.isnan(found["kind/loss"])


def test_tasks_may_have_examples_of_their_own_to_be_chosen_by(trained):
    model, params, joint = trained
    data = {name: jmeta.Batch(joint.x[:rows], joint.y[name][:rows]) for name, rows in (("height", 4), ("kind", 11))}
    found = jmeta.task_validator(model, TASKS, data, batch_size=3)(params)
    assert found["height/loss"] == pytest.approx(float(by_hand(params, joint, np.arange(4))["height/loss"]), rel=1e-5)


def test_what_does_not_fit_the_model_is_refused(trained):
    model, _, joint = trained
    with pytest.raises(
        ValueError, match=r"tasks must be a mapping with an entry for each of \['height', 'kind'\]; got \['height'\]"
    ):
        jmeta.task_validator(model, {"height": TASKS["height"]}, joint)
    with pytest.raises(ValueError, match=r"data must be a mapping .*got \['age'\]"):
        jmeta.task_validator(model, TASKS, {"age": joint})
