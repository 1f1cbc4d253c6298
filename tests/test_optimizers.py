"""Frozen parameters, penalties, and wrappers of optimisers behind an aggregation, each against its closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import aggregation

KEY = jax.random.key(0)


def params():
    random = np.random.default_rng(0)
    # A minus zero, which a sum with plus zero would turn over.
    return {
        "encoder": {"kernel": jnp.asarray(random.normal(size=(3, 2))), "bias": jnp.array([-0.0, 0.0])},
        "head": {"kernel": jnp.asarray(random.normal(size=(2, 1)))},
    }


def data(tasks=3):
    random = np.random.default_rng(1)
    return jnp.asarray(random.normal(size=(tasks, 4, 3))), jnp.asarray(random.normal(size=(tasks, 4, 1)))


def squared(params, key, data, *, step=0):
    del key, step
    x, y = data
    units = jnp.tanh(x @ params["encoder"]["kernel"] + params["encoder"]["bias"][None])
    value = jnp.square(units @ params["head"]["kernel"] - y).mean()
    return value, {"loss": value}


def is_kernel(path):
    return path.endswith("kernel")


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def run(step, state, data, count):
    step = jax.jit(step)
    for _ in range(count):
        state, _ = step(state, data)
    return state


def pcgrad_by_hand(rows):
    total = np.zeros_like(rows[0])
    for task in range(len(rows)):
        surgery = rows[task].copy()
        for other in range(len(rows)):
            product = surgery @ rows[other]
            if other != task and product < 0:
                surgery -= product / (rows[other] @ rows[other]) * rows[other]
        total += surgery
    return total


# --- trainable --------------------------------------------------------------------------------------------------------------------


def test_frozen_parameters_have_no_part_in_the_surgery(x64):
    """What the trainable ones do is the surgery on their gradients alone; with the frozen ones it would be another."""

    def select(path):
        return path == "encoder/kernel"

    optimizer = jmeta.trainable(jmeta.aggregate(jmeta.pcgrad(shuffle=False), optax.sgd(1.0)), select)
    start, (x, y) = params(), data()
    # The first two want the opposite.
    tasks = x.at[1].set(x[0]), y.at[1].set(-3 * y[0])
    state = jmeta.init_state(start, optimizer, KEY, tasks=3)
    after = run(jmeta.make_step(jmeta.task_gradients(squared), optimizer), state, tasks, 1).params
    each = [jax.grad(lambda params, task: squared(params, KEY, task)[0])(start, task) for task in zip(*tasks, strict=True)]
    own = [np.ravel(gradient["encoder"]["kernel"]) for gradient in each]
    everything = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]) for gradient in each]
    expected = pcgrad_by_hand(own)
    # The bias comes first in the tree.
    assert np.abs(expected - pcgrad_by_hand(everything)[2:8]).max() > 1e-3
    np.testing.assert_allclose(np.ravel(start["encoder"]["kernel"] - after["encoder"]["kernel"]), expected, rtol=1e-10)
    assert bits((after["encoder"]["bias"], after["head"])) == bits((start["encoder"]["bias"], start["head"]))


@pytest.mark.parametrize("select", [lambda path: path == "head/kernel", {"encoder": False, "head": True}], ids=["path", "prefix"])
def test_frozen_parameters_stay_bit_for_bit_and_have_no_state(select):
    """Not even weight decay moves them, in 20 steps of AdamW."""
    optimizer = jmeta.trainable(optax.adamw(1e-2, weight_decay=0.1), select)
    start = params()
    state = jmeta.init_state(start, optimizer, KEY)
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.optimizer_state)]
    # A count, and two moments of the head.
    assert sorted(shapes) == [(), (2, 1), (2, 1)]
    behind = jmeta.trainable(jmeta.aggregate(aggregation.sum(), optax.adamw(1e-2)), select)
    assert [leaf.shape for leaf in jax.tree.leaves(jmeta.init_state(start, behind, KEY, tasks=3).optimizer_state)] == shapes
    after = run(jmeta.make_step(jmeta.over_tasks(squared), optimizer), state, data(), 20).params
    assert bits(after["encoder"]) == bits(start["encoder"])
    # Not compiled, because XLA leaves a sum with a constant 0 out.
    updates, _ = optimizer.update(start, state.optimizer_state, start)
    assert bits(optax.apply_updates(start, updates)["encoder"]) == bits(start["encoder"])
    alone = optax.adamw(1e-2, weight_decay=0.1)
    head, moments = start["head"], alone.init(start["head"])
    slope = jax.jit(jax.grad(lambda head: jmeta.over_tasks(squared)(start | {"head": head}, KEY, data())[0]))
    for _ in range(20):
        updates, moments = alone.update(slope(head), moments, head)
        head = optax.apply_updates(head, updates)
    # float32, another program
    chex.assert_trees_all_close(after["head"], head, rtol=1e-5)


def test_frozen_heads_and_features_are_compared_as_if_they_were_not_there(x64):
    """Of the gradients of a multi-task model with own heads, by parameters and by features."""

    def linear(outputs):
        def init(key, x):
            return {"kernel": jax.random.normal(key, (x.shape[-1], outputs)), "bias": jnp.zeros(outputs)}

        return jmeta.from_functions(init, lambda params, x: jnp.tanh(x @ params["kernel"] + params["bias"][None]))

    task = jmeta.Task(linear(1), jmeta.squared_error)
    model = jmeta.hard_parameter_sharing(linear(2), {"a": task, "b": task})
    x, y = data(2)
    batch = jmeta.Batch(x[0], {"a": y[0], "b": -y[1]})
    start = jax.tree.map(lambda leaf: leaf + 0.1, model.init(KEY, batch))
    for by in ("parameters", "features"):
        gradients = jmeta.joint_gradients(model.joint_losses, with_respect_to=by)
        surgery = jmeta.aggregate(aggregation.sum(), optax.sgd(0.5), own=aggregation.sum())
        states = [
            run(jmeta.make_step(gradients, optimizer), jmeta.init_state(start, optimizer, KEY, tasks=2), batch, 1).params
            for optimizer in (surgery, jmeta.trainable(surgery, is_kernel))
        ]
        for (path, free), held, first in zip(
            jax.tree_util.tree_leaves_with_path(states[0]), *map(jax.tree.leaves, (states[1], start)), strict=True
        ):
            expected = free if is_kernel(jax.tree_util.keystr(path, simple=True, separator="/")) else first
            np.testing.assert_allclose(held, expected, rtol=1e-12)
            assert not np.allclose(free, first)


def test_a_line_search_among_the_trainable_parameters_gets_the_function_of_them(x64):
    optimizer = jmeta.trainable(optax.lbfgs(), lambda path: path.startswith("head"))
    start, tasks = params(), jax.tree.map(lambda leaf: leaf[0], data())
    after = run(jmeta.make_step(squared, optimizer), jmeta.init_state(start, optimizer, KEY), tasks, 15).params
    units = np.tanh(np.asarray(tasks[0] @ start["encoder"]["kernel"]))
    np.testing.assert_allclose(after["head"]["kernel"], np.linalg.lstsq(units, np.asarray(tasks[1]), rcond=None)[0], rtol=1e-6)
    assert bits(after["encoder"]) == bits(start["encoder"])


def test_the_gradient_of_frozen_parameters_is_not_computed():
    """A compiled step that trains the head alone has no backward pass through the encoder."""
    wide = {"encoder": {"kernel": jnp.ones((64, 64)), "bias": jnp.zeros(64)}, "head": {"kernel": jnp.ones((64, 1))}}
    tasks = (jnp.ones((32, 64)), jnp.ones((32, 1)))

    def flops(select):
        optimizer = jmeta.trainable(optax.sgd(0.1), select)
        step, state = jmeta.make_step(squared, optimizer), jmeta.init_state(wide, optimizer, KEY)
        return jax.jit(step).lower(state, tasks).compile().cost_analysis()["flops"]

    # Forward, and back to the kernel: two products against one.
    assert flops(lambda path: path.startswith("head")) < 0.6 * flops(is_kernel)


@pytest.mark.parametrize(
    ("select", "sentence"),
    [
        (
            lambda path: "decoder" in path,
            "select must choose at least one leaf; got none of encoder/bias, encoder/kernel, head/kernel",
        ),
        ({"encoder": False, "head": False}, "select must choose at least one leaf; got none of encoder/bias"),
        ({"encoder": True}, "select must be a predicate on paths or a prefix of the tree"),
    ],
)
@pytest.mark.parametrize("kind", ["optimiser", "aggregation"])
def test_a_choice_of_nothing_is_refused(kind, select, sentence):
    optimizer = optax.sgd(0.1) if kind == "optimiser" else jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1))
    with pytest.raises(ValueError, match=sentence):
        jmeta.init_state(params(), jmeta.trainable(optimizer, select), KEY, tasks=2)


# --- penalties --------------------------------------------------------------------------------------------------------------------


def half_square(params):
    return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params)) / 2


def schedule(step):
    return 0.5 / (1 + step)


PENALTIES = {
    "a number": (0.3, lambda step: 0.3),
    "a schedule": (schedule, schedule),
    "optax's schedule": (optax.linear_schedule(0.4, 0.0, 4), lambda step: 0.4 * max(0, 1 - step / 4)),
}


@pytest.mark.parametrize("kind", PENALTIES)
def test_a_penalty_adds_its_gradient_at_its_strength_of_the_step(x64, kind):
    """Weight decay written out: p - rate (gradient + strength(step) p)."""
    given, strength = PENALTIES[kind]
    optimizer = optax.chain(jmeta.penalize(half_square, given), optax.sgd(0.1))
    start, tasks = params(), jax.tree.map(lambda leaf: leaf[0], data())
    after = run(jmeta.make_step(squared, optimizer), jmeta.init_state(start, optimizer, KEY), tasks, 6).params
    slope = jax.jit(jax.grad(lambda params: squared(params, KEY, tasks)[0]))
    for step in range(6):
        start = jax.tree.map(lambda p, g, step=step: p - 0.1 * (g + strength(step) * p), start, slope(start))
    # Schedules of optax are float32.
    chex.assert_trees_all_close(after, start, rtol=1e-6 if kind == "optax's schedule" else 1e-12)


def test_a_penalty_comes_behind_an_aggregator_and_among_trainable_parameters(x64):
    """It sees the parameters that are trained: the others have no gradient, whatever the penalty says."""
    penalized = optax.chain(jmeta.penalize(half_square, schedule), optax.sgd(0.1))
    optimizer = jmeta.trainable(jmeta.aggregate(aggregation.mean(), penalized), is_kernel)
    start, tasks = params(), data()
    state = jmeta.init_state(start, optimizer, KEY, tasks=3)
    after = run(jmeta.make_step(jmeta.task_gradients(squared), optimizer), state, tasks, 3).params
    slope = jax.jit(jax.grad(lambda params: jmeta.over_tasks(squared)(params, KEY, tasks)[0]))
    expected = start
    for step in range(3):
        moved = jax.tree.map(lambda p, g, step=step: p - 0.1 * (g + schedule(step) * p), expected, slope(expected))
        moved["encoder"]["bias"] = start["encoder"]["bias"]
        expected = moved
    chex.assert_trees_all_close(after, expected, rtol=1e-12)


def test_a_penalty_needs_the_parameters():
    optimizer = jmeta.penalize(half_square, 0.1)
    with pytest.raises(ValueError, match=r"params must be given to penalize\(...\).update; got None"):
        optimizer.update(params(), optimizer.init(params()))


# --- wrappers of optimisers behind an aggregation ---------------------------------------------------------------------------------


def test_steps_may_be_gathered_behind_an_aggregation(x64):
    """``optax.MultiSteps`` inside: two steps of data are one step of the mean of what was combined."""
    optimizer = jmeta.aggregate(jmeta.pcgrad(shuffle=False), optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation())
    start, tasks = params(), data()
    step = jmeta.make_step(jmeta.task_gradients(squared), optimizer)
    state = jmeta.init_state(start, optimizer, KEY, tasks=3)
    other = (tasks[0], -tasks[1])
    first = run(step, state, tasks, 1)
    assert bits(first.params["head"]) == bits(start["head"])
    after = run(step, first, other, 1).params
    each = [jmeta.task_gradients(squared)(start, KEY, found)[1] for found in (tasks, other)]
    known = {"losses": jnp.zeros(3), "present": jnp.ones(3, bool), "key": KEY}
    combined = [jmeta.pcgrad(shuffle=False).combine(gradients, (), **known)[0] for gradients in each]
    expected = jax.tree.map(lambda p, a, b: p - 0.1 * (a + b) / 2, start, *combined)
    # MultiSteps adds up in float32.
    chex.assert_trees_all_close(after, expected, rtol=1e-6)


def test_a_gradient_that_is_not_finite_may_be_passed_over_behind_an_aggregation():
    """``optax.apply_if_finite`` inside."""
    optimizer = jmeta.aggregate(aggregation.sum(), optax.apply_if_finite(optax.sgd(0.1), 5))
    start, tasks = params(), data()
    step = jmeta.make_step(jmeta.task_gradients(squared), optimizer)
    state = jmeta.init_state(start, optimizer, KEY, tasks=3)
    skipped = run(step, state, (tasks[0] * jnp.nan, tasks[1]), 1)
    chex.assert_trees_all_close(skipped.params, start, rtol=0)
    assert not np.allclose(run(step, skipped, tasks, 1).params["head"]["kernel"], start["head"]["kernel"])
