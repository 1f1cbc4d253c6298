"""iMAML, which is MAML with the implicit adjoint: the gradient of a stationary point, whatever path led there."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing

KEY = jax.random.key(0)
LINEAR = jmeta.Model(lambda key, x: jnp.ones((x.shape[-1], 1)), lambda params, x, *, key=None, mask=None: x @ params)


def hidden(width=3):
    def init(key, x):
        first, second = jax.random.split(key)
        return {"first": jax.random.normal(first, (x.shape[-1], width)), "second": jax.random.normal(second, (width, 1))}

    return jmeta.Model(init, lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params["first"]) @ params["second"])


def regression(tasks=None, columns=2):
    lead = () if tasks is None else (tasks,)
    shapes = (*lead, 5, columns), (*lead, 5, 1), (*lead, 4, columns), (*lead, 4, 1)
    x, y, query_x, query_y = map(jax.random.normal, jax.random.split(KEY, 4), shapes)
    return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(query_x, query_y))


def imaml(model, num_steps, **options):
    return jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=num_steps, adjoint=jmeta.implicit(**options))


# Conjugate gradients are exact after as many steps as there are parameters, two.
@pytest.mark.parametrize(("damping", "solver_steps"), [(0.0, 2), (0.7, 2), (0.0, 5)])
@pytest.mark.parametrize("num_steps", [1, 8])
def test_meta_gradient_on_a_quadratic_is_the_solution_of_its_system(x64, num_steps, damping, solver_steps):
    r""":math:`(I + (H + \mu I) / \lambda)^{-1} g`, wherever the descent stopped."""
    episode, strength = regression(), 1.5
    learner = imaml(LINEAR, num_steps, proximal_strength=strength, damping=damping, solver_steps=solver_steps)
    params = jnp.array([[0.3], [-0.8]])
    got = jax.jit(jax.grad(learner.loss, has_aux=True))(params, KEY, episode)[0]

    (x, y, *_), (query_x, query_y, *_) = (jax.device_get(batch) for batch in (episode.support, episode.query))
    start = adapted = np.asarray(params)
    for _ in range(num_steps):
        adapted = adapted - 0.1 * (2 * x.T @ (x @ adapted - y) / len(x) + strength * (adapted - start))
    np.testing.assert_allclose(learner.adapt(params, KEY, episode.support), adapted, rtol=1e-10)
    outer = 2 * query_x.T @ (query_x @ adapted - query_y) / len(query_x)
    system = np.eye(2) + (2 * x.T @ x / len(x) + damping * np.eye(2)) / strength
    np.testing.assert_allclose(got, np.linalg.solve(system, outer), rtol=1e-10)


def test_meta_gradient_of_a_network_at_its_stationary_point_agrees_with_central_differences(x64):
    """300 steps end where one more moves nothing, so that differences of the descent are those of the stationary point."""
    learner = imaml(hidden(), 300, proximal_strength=2.0, solver_steps=9)
    params = learner.init(KEY, regression())
    along = learner.path(params, KEY, regression().support, 301)
    last, further = (jax.tree.map(lambda leaf, at=at: leaf[at], along) for at in (300, 301))
    chex.assert_trees_all_close(last, further, atol=1e-14)
    testing.check_gradient(learner.loss, params, KEY, regression(), tolerance=1e-6)


def test_mapped_tasks_are_a_loop_over_them(x64):
    learner, episodes = imaml(hidden(), 3, proximal_strength=1.0), regression(tasks=3)
    params = learner.init(KEY, jax.tree.map(lambda leaf: leaf[0], episodes))
    gradient = jax.grad(jmeta.over_tasks(learner.loss), has_aux=True)
    one = jax.jit(jax.grad(learner.loss, has_aux=True))
    each = [one(params, KEY, jax.tree.map(lambda leaf, task=task: leaf[task], episodes))[0] for task in range(3)]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    chex.assert_trees_all_close(jax.jit(gradient)(params, KEY, episodes)[0], expected, rtol=1e-12, atol=1e-14)


def test_memory_does_not_grow_with_the_steps():
    def temporary_bytes(adjoint, num_steps):
        learner = jmeta.maml(hidden(256), jmeta.squared_error, optax.sgd(0.1), num_steps=num_steps, adjoint=adjoint)
        shapes = jax.eval_shape(lambda: (hidden(256).init(KEY, jnp.ones((5, 64))), KEY, regression(columns=64)))
        lowered = jax.jit(jax.grad(learner.loss, has_aux=True)).lower(*shapes)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    one, some, many = (temporary_bytes(jmeta.implicit(proximal_strength=1.0), steps) for steps in (1, 16, 128))
    assert max(one, some, many) <= 1.05 * min(one, some, many)
    # 128 steps through whose weights is differentiated, though most of them are computed anew.
    assert temporary_bytes(jmeta.unrolled(), 128) > 2 * temporary_bytes(jmeta.unrolled(), 1)
    assert temporary_bytes(jmeta.unrolled(), 128) > 2 * many


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"proximal_strength": 0.0}, "proximal_strength must be above 0; got 0.0"),
        ({"proximal_strength": 1.0, "damping": -1.0}, "damping must be at least 0; got -1.0"),
        ({"proximal_strength": 1.0, "solver_steps": 0}, "solver_steps must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.implicit(**options)
