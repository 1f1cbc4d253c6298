"""Trees of several precisions: every leaf keeps its type, and its values are those of float32 up to its own rounding."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import aggregation

KEY = jax.random.key(0)
# bfloat16 keeps 8 binary digits.
ROUNDING = 2.0**-8


def mixed(tree):
    """Rounds the body to bfloat16; what comes of it in float32 is its exact value."""
    return tree | {"body": tree["body"].astype(jnp.bfloat16)}


def wide(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


def params():
    random = np.random.default_rng(0)
    return mixed(
        {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in (("body", (3, 4)), ("head", (4, 1)))}
    )


def episodes(tasks=4):
    random = np.random.default_rng(1)
    parts = [jmeta.Batch(*(jnp.asarray(random.normal(size=(tasks, 5, n)), jnp.float32) for n in (3, 1))) for _ in range(2)]
    return jmeta.Episode(*parts, task=jnp.arange(tasks))


def absent(episodes):
    """The same tasks, of which one has nothing in its query."""
    mask = jnp.broadcast_to((jnp.arange(4) != 1)[:, None], (4, 5))
    return episodes._replace(query=episodes.query._replace(mask=mask))


MODEL = jmeta.from_functions(
    lambda key, x: params(), lambda params, x: jnp.tanh(x @ params["body"].astype(jnp.float32)) @ params["head"]
)


def apart(one, other):
    return optax.tree.norm(optax.tree.sub(wide(one), wide(other)))


def assert_alike(got, expected, like):
    chex.assert_trees_all_equal_dtypes(got, like)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    chex.assert_trees_all_close(wide(got), expected, rtol=2 * ROUNDING, atol=ROUNDING * scale)


ADJOINTS = {
    "unrolled": jmeta.unrolled(),
    "mixed mode": jmeta.unrolled(hessian_product="mixed"),
    "first order": jmeta.first_order(),
    "implicit": jmeta.implicit(proximal_strength=2.0, damping=0.1),
}


@pytest.mark.parametrize("name", ADJOINTS)
def test_a_meta_gradient_keeps_the_type_of_every_leaf(name):
    learner = jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(0.05), num_steps=2, adjoint=ADJOINTS[name])
    one = jax.tree.map(lambda leaf: leaf[0], episodes())
    differentiate = jax.jit(jax.grad(lambda params: learner.loss(params, KEY, one)[0]))
    got, expected = differentiate(params()), differentiate(wide(params()))
    chex.assert_trees_all_equal_dtypes(got, params())
    # The inner steps round in bfloat16 too, a few times.
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    chex.assert_trees_all_close(wide(got), expected, atol=8 * ROUNDING * scale, rtol=0)


def test_central_differences_keep_the_type_of_every_leaf_and_step_as_far_as_the_coarsest_needs():
    """The product with the second derivatives is right to a few parts in a hundred; with the step of float32 it is off by 0.14."""
    one = jax.tree.map(lambda leaf: leaf[0], episodes())

    def slope(adjoint):
        learner = jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(0.2), adjoint=adjoint)
        return jax.jit(jax.grad(lambda params: learner.loss(params, KEY, one)[0]))(params())

    adjoints = jmeta.unrolled(hessian_product="finite_difference"), jmeta.unrolled(), jmeta.first_order()
    got, exact, without = map(slope, adjoints)
    chex.assert_trees_all_equal_dtypes(got, params())
    assert apart(got, exact) < 0.1 * apart(exact, without)


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_micro_batches_keep_the_type_of_every_leaf(micro_batch):
    learner = jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(0.05), adjoint=jmeta.first_order())
    objectives = {
        "mean": jmeta.over_tasks(learner.loss),
        "mixture": jmeta.mixture({"a": jmeta.over_tasks(learner.loss)}, {"a": 0.5}),
    }
    for name, objective in objectives.items():
        differentiate = jax.jit(jmeta.value_and_gradient(objective, micro_batch=micro_batch))
        data = absent(episodes()) if name == "mean" else {"a": absent(episodes())}
        got, expected = (differentiate(given, KEY, data)[1] for given in (params(), wide(params())))
        assert_alike(got, expected, params())


def sampler():
    return jmeta.Sampler(episodes(), lambda data, key: absent(data))


LEARNER = jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(0.05), adjoint=jmeta.first_order())
PENALTY = jmeta.penalize(lambda params: sum(jnp.square(leaf.astype(jnp.float32)).sum() for leaf in jax.tree.leaves(params)), 0.1)
SCHEDULED = jmeta.penalize(
    lambda params: sum(jnp.square(leaf.astype(jnp.float32)).sum() for leaf in jax.tree.leaves(params)),
    optax.linear_schedule(0.1, 0.0, 10),
)
STEPS = {
    "pcgrad": (jmeta.task_gradients(LEARNER.loss), jmeta.aggregate(jmeta.pcgrad(shuffle=False), optax.adam(1e-2)), None),
    "pcgrad, a penalty on a schedule": (
        jmeta.task_gradients(LEARNER.loss),
        jmeta.aggregate(jmeta.pcgrad(shuffle=False), optax.chain(SCHEDULED, optax.adam(1e-2))),
        None,
    ),
    "mean, a frozen head": (
        jmeta.task_gradients(LEARNER.loss),
        jmeta.trainable(jmeta.aggregate(aggregation.mean(), optax.adam(1e-2)), lambda path: path == "body"),
        None,
    ),
    "uncertainty": (
        jmeta.task_losses(LEARNER.loss),
        optax.chain(PENALTY, optax.adam(1e-2)),
        jmeta.uncertainty_weighting(optax.adam(0.1)),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_fit_keeps_the_type_of_every_leaf(name):
    """The carry of its loop, of three steps; and the parameters are those of float32 up to rounding."""
    objective, optimizer, weighting = STEPS[name]
    step = jmeta.make_step(objective, optimizer, weighting=weighting)
    found = []
    for start in (params(), wide(params())):
        state = jmeta.init_state(start, optimizer, KEY, tasks=4, weighting=weighting)
        after = jmeta.fit(step, state, sampler(), num_steps=3, steps_per_chunk=3).state
        chex.assert_trees_all_equal_dtypes(after, state)
        found.append(after.params)
    moved = jnp.abs(wide(found[0])["body"] - wide(params())["body"]).max()
    assert moved > 1e-2
    chex.assert_trees_all_close(wide(found[0]), found[1], atol=0.02, rtol=0)
