"""Surgery between the tasks of a multi-task model, of a meta-batch, and of a meta-batch of several kinds."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import aggregation

KEY = jax.random.key(0)
OF_THREE = {"losses": jnp.zeros(3), "present": jnp.ones(3, bool), "key": KEY}
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def linear(features, activation=lambda x: x):
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: activation(x @ params),
    )


ENCODER = linear(4, jnp.tanh)
LEARNERS = {
    "curves": jmeta.anil(jmeta.EncoderHead(ENCODER, linear(2)), jmeta.squared_error, optax.sgd(0.1), num_steps=2),
    "kinds": jmeta.maml(jmeta.compose(ENCODER, linear(3)), cross_entropy, optax.sgd(0.1)),
}


def of_kind(name):
    """The loss of a learner whose head is one of several on the shared encoder."""

    def objective(params, key, episode, *, step=0):
        return LEARNERS[name].loss(jmeta.EncoderHead(params.encoder, params.head[name]), key, episode, step=step)

    return objective


def meta_batch():
    """Three regression tasks of five and four rows, two classification tasks of six and three."""
    keys = iter(jax.random.split(KEY, 6))
    draw = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
    labels = jnp.tile(jnp.arange(3), (2, 2))
    return {
        "curves": jmeta.Episode(jmeta.Batch(draw(3, 5, 3), draw(3, 5, 2)), jmeta.Batch(draw(3, 4, 3), draw(3, 4, 2))),
        "kinds": jmeta.Episode(jmeta.Batch(draw(2, 6, 3), labels), jmeta.Batch(draw(2, 3, 3), labels[:, :3])),
    }


def shared_params():
    keys = jax.random.split(KEY, 3)
    heads = {"curves": jax.random.normal(keys[1], (4, 2)), "kinds": jax.random.normal(keys[2], (4, 3))}
    return jmeta.EncoderHead(jax.random.normal(keys[0], (3, 4)), heads)


def pcgrad_by_hand(rows):
    total = np.zeros_like(rows[0])
    for task in range(len(rows)):
        surgery = rows[task].copy()
        for other in range(len(rows)):
            product = (surgery * rows[other]).sum()
            if other != task and product < 0:
                surgery -= product / np.square(rows[other]).sum() * rows[other]
        total += surgery
    return total


def test_surgery_on_the_shared_encoder_of_a_heterogeneous_meta_batch_is_the_naive_loop(x64):
    data, params = meta_batch(), shared_params()
    # Opposite targets, so that there is something to cut.
    data["curves"] = jax.tree.map(
        lambda leaf: leaf.at[1].set(-leaf[0]) if leaf.shape[-1] == 2 else leaf.at[1].set(leaf[0]), data["curves"]
    )
    objectives = {name: jmeta.over_tasks(of_kind(name)) for name in LEARNERS}
    optimizer = jmeta.aggregate(aggregation.pcgrad(shuffle=False), optax.sgd(1.0), own=aggregation.sum())
    step = jax.jit(jmeta.make_step(jmeta.task_gradients(objectives), optimizer))
    state, metrics = step(jmeta.init_state(params, optimizer, KEY, tasks=5), data)

    tasks = [("curves", 0), ("curves", 1), ("curves", 2), ("kinds", 0), ("kinds", 1)]
    single = {name: jax.jit(jax.grad(lambda params, task, name=name: of_kind(name)(params, KEY, task)[0])) for name in LEARNERS}
    each = [single[name](params, jax.tree.map(lambda leaf: leaf[row], data[name])) for name, row in tasks]  # noqa: B023
    rows = [np.asarray(gradient.encoder) for gradient in each]
    expected = pcgrad_by_hand(rows)
    assert np.abs(expected - np.sum(rows, axis=0)).max() > 1e-2
    np.testing.assert_allclose(params.encoder - state.params.encoder, expected, rtol=1e-10, atol=1e-12)
    for name in LEARNERS:
        moved = params.head[name] - state.params.head[name]
        np.testing.assert_allclose(moved, np.sum([gradient.head[name] for gradient in each], axis=0), rtol=1e-10, atol=1e-12)
    assert set(metrics) == {"loss", "curves/loss", "kinds/loss"}


def multitask():
    """Two tasks of a multi-task model, each a batch."""
    model = jmeta.hard_parameter_sharing(
        ENCODER, {"curves": jmeta.Task(linear(2), jmeta.squared_error), "kinds": jmeta.Task(linear(3), cross_entropy)}
    )
    data = {name: jax.tree.map(lambda leaf: leaf[0], episode.support) for name, episode in meta_batch().items()}
    params = shared_params()
    heads = {name: jmeta.EncoderHead((), head) for name, head in params.head.items()}
    return model.objectives, params._replace(head=heads), data, 2


def meta():
    """Three tasks of a meta-batch."""
    learner = LEARNERS["curves"]
    params = shared_params()
    return learner.loss, jmeta.EncoderHead(params.encoder, params.head["curves"]), meta_batch()["curves"], 3


@pytest.mark.parametrize("tasks", [multitask, meta], ids=["multi-task model", "meta-batch"])
def test_every_weighting_and_aggregator_serves_both_kinds_of_task(x64, tasks):
    """With equal weights or plain sums all of them are the same step; the others give another finite one."""
    objective, params, data, count = tasks()
    weightings = {"equal": jmeta.equal_weighting(), "uncertainty": jmeta.uncertainty_weighting(optax.sgd(0.1))}
    aggregations = {
        "sum": jmeta.aggregate(aggregation.sum(), optax.sgd(0.1)),
        "own": jmeta.aggregate(aggregation.sum(), optax.sgd(0.1), own=aggregation.sum()),
        "mean": jmeta.aggregate(aggregation.mean(), optax.sgd(0.1 * count)),
        "pcgrad": jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1)),
    }
    results = {}
    for name, weighting in weightings.items():
        step = jax.jit(jmeta.make_step(jmeta.task_losses(objective), optax.sgd(0.1), weighting=weighting))
        results[name], _ = step(jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=count), data)
    for name, optimizer in aggregations.items():
        step = jax.jit(jmeta.make_step(jmeta.task_gradients(objective), optimizer))
        results[name], _ = step(jmeta.init_state(params, optimizer, KEY, tasks=count), data)
    total = lambda params: jmeta.task_losses(objective)(params, KEY, data)[0].sum()  # noqa: E731
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.jit(jax.grad(total))(params))
    for name in ("equal", "sum", "own", "mean"):
        chex.assert_trees_all_close(results[name].params, expected, rtol=1e-10, atol=1e-12)
    # Log-variances start at 0: every weight is one half.
    halfway = jax.tree.map(lambda p, q: (p + q) / 2, params, expected)
    chex.assert_trees_all_close(results["uncertainty"].params, halfway, rtol=1e-10, atol=1e-12)
    chex.assert_tree_all_finite(results["pcgrad"].params)


def test_the_optimiser_keeps_moments_of_the_combined_gradient_alone():
    optimizer = jmeta.aggregate(aggregation.sum(), optax.adam(0.1))
    state = optimizer.init({"w": jnp.zeros(2)}, 3)
    _, state = optimizer.update({"w": jnp.ones((3, 2))}, state, {"w": jnp.zeros(2)}, **OF_THREE)
    # (1 - b1) times the sum of three ones.
    np.testing.assert_allclose(optax.tree.get(state, "mu")["w"], 0.3, rtol=1e-6)


def test_own_needs_an_encoder_and_a_head():
    optimizer = jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1), own=aggregation.sum())
    with pytest.raises(ValueError, match="own needs parameters that are an EncoderHead; got dict"):
        optimizer.init({"w": jnp.zeros(2)}, 3)


def test_an_aggregator_that_leaves_the_task_axis_is_refused():
    leaves_all = jmeta.Aggregator(lambda tasks: (), lambda gradients, state, **given: (gradients, state))
    optimizer = jmeta.aggregate(leaves_all, optax.sgd(0.1))
    params = {"w": jnp.zeros(2)}
    with pytest.raises(
        ValueError, match=r"an aggregator must remove the task axis; got a combined gradient \(3, 2\) for a parameter \(2,\)"
    ):
        optimizer.update({"w": jnp.ones((3, 2))}, optimizer.init(params, 3), params, **OF_THREE)


@pytest.mark.parametrize("place", ["shared", "own"])
def test_an_optimiser_in_the_place_of_an_aggregator_is_refused(place):
    parts = {"shared": aggregation.sum(), "own": aggregation.sum()} | {place: optax.sgd(0.1)}
    with pytest.raises(ValueError, match=r"shared and own must be aggregators, such as pcgrad\(\); got an optax transformation"):
        jmeta.aggregate(optimizer=optax.sgd(0.1), **parts)
