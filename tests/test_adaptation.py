"""Gradient descent on one task, and the ways to differentiate through it."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta

KEY = jax.random.key(0)


def quadratic(adapted, key, data, *, step=0):
    """(p - a)^T A (p - a) / 2."""
    del key, step
    matrix, center = data
    difference = adapted - center
    return difference @ matrix @ difference / 2, {}


def quadratic_task(size=3, seed=0):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(size, size))
    return root @ root.T / size, generator.normal(size=size), generator.normal(size=size)


def meta_gradient(objective, optimizer, num_steps, adjoint, initial, data, outer):
    descent = jmeta.gradient_descent(objective, optimizer, num_steps, adjoint=adjoint)
    return jax.jit(jax.grad(lambda initial: outer(descent.run(initial, KEY, data))))(initial)


def smooth(adapted, key, data, *, step=0):
    """A small tanh network's squared error; the key and the step take part."""
    x, y = data
    noise = 0.1 * jax.random.normal(key, x.shape, x.dtype)
    outputs = jnp.tanh((x + noise) @ adapted["first"]) @ adapted["second"]
    return jnp.square(outputs - y).mean() * (1 + 0.1 * step), {}


def smooth_task(dtype=float):
    keys = jax.random.split(KEY, 4)
    params = {"first": jax.random.normal(keys[0], (2, 4), dtype), "second": jax.random.normal(keys[1], (4, 1), dtype)}
    return params, (jax.random.normal(keys[2], (5, 2), dtype), jax.random.normal(keys[3], (5, 1), dtype))


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_meta_gradient_of_a_quadratic_task_is_the_product_of_its_contractions(x64, num_steps):
    matrix, center, start = quadratic_task()
    got = meta_gradient(
        quadratic,
        optax.sgd(0.1),
        num_steps,
        jmeta.unrolled(),
        start,
        (matrix, center),
        lambda p: quadratic(p, KEY, (matrix, center))[0],
    )
    contraction = np.linalg.matrix_power(np.eye(3) - 0.1 * matrix, num_steps)
    adapted = center + contraction @ (start - center)
    # Exact arithmetic apart from rounding.
    np.testing.assert_allclose(got, contraction @ matrix @ (adapted - center), rtol=1e-12)


def test_first_order_gradient_of_a_quadratic_task_leaves_the_contractions_out(x64):
    matrix, center, start = quadratic_task()
    outer = lambda p: quadratic(p, KEY, (matrix, center))[0]  # noqa: E731
    got = meta_gradient(quadratic, optax.sgd(0.1), 4, jmeta.first_order(), start, (matrix, center), outer)
    adapted = center + np.linalg.matrix_power(np.eye(3) - 0.1 * matrix, 4) @ (start - center)
    np.testing.assert_allclose(got, matrix @ (adapted - center), rtol=1e-12)


# The error is of the order of the distance squared, (1 + |params|)^2 eps^(2/3) = 9e-10 and 6e-4, times third derivatives
# of order ten.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 6e-3)])
def test_finite_difference_hessian_products_agree_with_reverse_mode(x64, dtype, tolerance):
    params, data = smooth_task(dtype)
    outer = lambda p: smooth(p, KEY, data)[0]  # noqa: E731
    exact, approximate, first_order = (
        meta_gradient(smooth, optax.sgd(0.1, momentum=0.5), 3, adjoint, params, data, outer)
        for adjoint in (jmeta.unrolled(), jmeta.unrolled(hessian_product="finite_difference"), jmeta.first_order())
    )
    scale = optax.tree.norm(exact)
    assert optax.tree.norm(optax.tree.sub(approximate, exact)) < tolerance * scale
    # The second-order part is not negligible, so a missing one would be seen.
    assert optax.tree.norm(optax.tree.sub(first_order, exact)) > 0.05 * scale


def test_mixed_mode_hessian_products_are_those_of_reverse_mode(x64):
    params, data = smooth_task()
    outer = lambda p: smooth(p, KEY, data)[0]  # noqa: E731
    exact, mixed = (
        meta_gradient(smooth, optax.sgd(0.1, momentum=0.5), 3, jmeta.unrolled(hessian_product=product), params, data, outer)
        for product in ("reverse", "mixed")
    )
    # Another order of the same sums.
    chex.assert_trees_all_close(mixed, exact, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("hessian_product", ["mixed", "finite_difference"])
def test_hessian_products_reach_what_the_objective_closes_over_and_its_data(x64, hessian_product):
    """The mixed derivative: of the inner gradient with respect to a value that is not adapted."""
    params, (x, y) = smooth_task()

    def outer(learned, adjoint):
        scale, x = learned
        objective = lambda *arguments, step=0: (scale * smooth(*arguments, step=step)[0], {})  # noqa: E731
        descent = jmeta.gradient_descent(objective, optax.sgd(0.1), 2, adjoint=adjoint)
        return smooth(descent.run(params, KEY, (x, y)), KEY, (x, y))[0]

    exact, approximate = (
        jax.jit(jax.grad(lambda learned, adjoint=adjoint: outer(learned, adjoint)))((jnp.array(1.5), x))
        for adjoint in (jmeta.unrolled(), jmeta.unrolled(hessian_product=hessian_product))
    )
    assert abs(exact[0]) > 1e-3
    for got, expected in zip(approximate, exact, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("hessian_product", ["mixed", "finite_difference"])
def test_hessian_products_are_mapped_over_tasks_with_integer_labels(x64, hessian_product):
    """Labels have no cotangent; a zero cotangent has a zero product."""
    logits = jax.random.normal(KEY, (2, 3, 4))
    labels = jnp.array([[0, 1, 2], [3, 0, 1]])

    def objective(adapted, key, data, *, step=0):
        features, labels = data
        return optax.softmax_cross_entropy_with_integer_labels(features * adapted["w"], labels).mean(), {}

    def outer(params, adjoint, weight):
        descent = jmeta.gradient_descent(objective, optax.sgd(0.5), 2, adjoint=adjoint)
        adapted = jax.vmap(descent.run, in_axes=(None, None, 0))(params, KEY, (logits, labels))
        return weight * jnp.square(adapted["w"]).sum()

    params = {"w": jnp.ones((3, 4)) * 0.5}
    fd = jmeta.unrolled(hessian_product=hessian_product)
    exact, approximate, nothing = (
        jax.jit(jax.grad(lambda p, adjoint=adjoint, weight=weight: outer(p, adjoint, weight)))(params)["w"]
        for adjoint, weight in ((jmeta.unrolled(), 1.0), (fd, 1.0), (fd, 0.0))
    )
    np.testing.assert_allclose(approximate, exact, rtol=1e-7)
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("options", [{"rematerialise": False}, {"unroll": 3}, {"rematerialise": False, "unroll": 3}])
def test_rematerialising_and_unrolling_leave_the_meta_gradient_alone(x64, options):
    params, data = smooth_task()
    outer = lambda p: smooth(p, KEY, data)[0]  # noqa: E731
    expected, got = (
        meta_gradient(smooth, optax.sgd(0.1), 3, adjoint, params, data, outer)
        for adjoint in (jmeta.unrolled(), jmeta.unrolled(**options))
    )
    # The same operations in another order: rounding only.
    chex.assert_trees_all_close(got, expected, rtol=1e-12)


# 16 and 20 fill whole blocks of 4 and leave none over; 23 leaves 3 steps over.
@pytest.mark.parametrize(("num_steps", "hessian_product"), [(16, "reverse"), (20, "reverse"), (23, "reverse"), (23, "mixed")])
def test_nested_rematerialisation_leaves_result_path_and_meta_gradient_alone(x64, num_steps, hessian_product):
    params, data = smooth_task()
    outer = lambda p: smooth(p, KEY, data)[0]  # noqa: E731
    nested, plain = jmeta.unrolled(hessian_product=hessian_product), jmeta.unrolled(rematerialise=False)
    got, expected = (
        (
            meta_gradient(smooth, optax.sgd(0.1), num_steps, adjoint, params, data, outer),
            jmeta.gradient_descent(smooth, optax.sgd(0.1), num_steps, adjoint=adjoint).path(params, KEY, data, num_steps),
        )
        for adjoint in (nested, plain)
    )
    # The same operations in another order: rounding only.
    chex.assert_trees_all_close(got, expected, rtol=1e-10, atol=1e-13)


def test_nested_rematerialisation_keeps_the_square_root_of_the_steps():
    params = {"kernel": jnp.ones((64, 64))}

    def objective(adapted, key, data, *, step=0):
        # The second layer's derivative needs the kernel, so plain reverse mode keeps that of every step.
        return jnp.square(jnp.tanh(jnp.tanh(data @ adapted["kernel"]) @ adapted["kernel"])).mean(), {}

    def temporary_bytes(adjoint, num_steps):
        descent = jmeta.gradient_descent(objective, optax.sgd(0.1), num_steps, adjoint=adjoint)
        gradient = jax.jit(jax.grad(lambda params: descent.run(params, KEY, jnp.ones((4, 64)))["kernel"].sum()))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    plain, nested = (temporary_bytes(jmeta.unrolled(rematerialise=keep), 256) for keep in (False, True))
    # 256 steps keep 256 kernels in one and 2 * 16 in the other, and each a few more for work.
    assert nested < plain / 5
    # 16 times the steps: 2 * 16 kernels for 2 * 4. The few for work make it less than 4 times the bytes, 16 times would be linear.
    for adjoint in (jmeta.unrolled(), jmeta.unrolled(hessian_product="mixed")):
        assert temporary_bytes(adjoint, 256) < 4.5 * temporary_bytes(adjoint, 16)


# Adam divides by gradients, so rounding of 1e-16 grows by an order.
@pytest.mark.parametrize(
    ("dtype", "optimizer", "tolerance"),
    [
        ("float64", optax.sgd(0.1, momentum=0.5), 1e-12),
        ("float64", optax.adam(0.1, eps_root=1e-8), 1e-11),
        ("float32", optax.sgd(0.1, momentum=0.5), 1e-5),
    ],
)
def test_scan_equals_a_python_loop(x64, dtype, optimizer, tolerance):
    params, data = smooth_task(dtype)
    outer = lambda p: smooth(p, KEY, data)[0]  # noqa: E731

    def looped(params):
        state = optimizer.init(params)
        for step in range(3):
            grads = jax.grad(lambda p: smooth(p, jax.random.fold_in(KEY, step), data, step=step)[0])(params)  # noqa: B023
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return outer(params)

    got = meta_gradient(smooth, optimizer, 3, jmeta.unrolled(), params, data, outer)
    expected = jax.jit(jax.grad(looped))(params)
    chex.assert_trees_all_close(got, expected, rtol=tolerance, atol=tolerance / 10)


def test_learned_step_sizes_learn_under_first_order(x64):
    """d L(phi_T) / d alpha = -grad L(phi_T) . sum of the inner gradients, which are constants."""
    matrix, center, start = quadratic_task()
    outer = lambda p: quadratic(p, KEY, (matrix, center))[0]  # noqa: E731

    def loss(step_size):
        descent = jmeta.gradient_descent(quadratic, optax.sgd(step_size), 3, adjoint=jmeta.first_order())
        return outer(descent.run(start, KEY, (matrix, center)))

    phi, total = start, np.zeros(3)
    for _ in range(3):
        total += matrix @ (phi - center)
        phi = phi - 0.1 * matrix @ (phi - center)
    expected = -(matrix @ (phi - center)) @ total
    assert abs(expected) > 0.01
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.1), expected, rtol=1e-12)


def test_learned_step_sizes_learn_through_unrolled_steps(x64):
    """Along phi_T = a + (I - alpha A)^T (theta - a) the derivative is closed too; a traced step size passes the probe."""
    matrix, center, start = quadratic_task()

    def loss(step_size):
        descent = jmeta.gradient_descent(quadratic, optax.sgd(step_size), 3, adjoint=jmeta.unrolled())
        return quadratic(descent.run(start, KEY, (matrix, center)), KEY, (matrix, center))[0]

    contraction = np.eye(3) - 0.1 * matrix
    adapted = np.linalg.matrix_power(contraction, 3) @ (start - center)
    expected = (matrix @ adapted) @ (-3 * matrix @ np.linalg.matrix_power(contraction, 2) @ (start - center))
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.1), expected, rtol=1e-12)


def test_path_passes_through_every_run():
    params, data = smooth_task()
    build = lambda steps: jmeta.gradient_descent(smooth, optax.sgd(0.1, momentum=0.9), steps, adjoint=jmeta.unrolled())  # noqa: E731
    path = build(1).path(params, KEY, data, 3)
    for steps in range(4):
        adapted = build(steps).run(params, KEY, data)
        # One program may fuse what the other does not: float32 rounding.
        chex.assert_trees_all_close(jax.tree.map(lambda along: along[steps], path), adapted, rtol=1e-6, atol=1e-7)  # noqa: B023


def test_no_steps_leave_the_parameters_alone():
    params, data = smooth_task()
    descent = jmeta.gradient_descent(smooth, optax.adam(0.1, eps_root=1e-8), 0, adjoint=jmeta.unrolled())
    chex.assert_trees_all_equal(descent.run(params, KEY, data), params)
    chex.assert_trees_all_equal(descent.path(params, KEY, data, 0), jax.tree.map(lambda leaf: leaf[None], params))


def test_inner_objective_sees_the_step_and_a_key_of_its_own():
    def objective(adapted, key, data, *, step=0):
        del data
        return adapted["step"] * step + adapted["noise"] * jax.random.normal(key), {}

    descent = jmeta.gradient_descent(objective, optax.sgd(1.0), 4, adjoint=jmeta.unrolled())
    path = descent.path({"step": jnp.zeros(()), "noise": jnp.zeros(())}, KEY, (), 4)
    np.testing.assert_array_equal(-np.diff(path["step"]), [0, 1, 2, 3])
    noise = -np.diff(path["noise"])
    assert all(abs(a - b) > 1e-3 for a, b in itertools.combinations(noise, 2))


NORMALISED = optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1))
UNSAFE = {
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1),
    "nadam": optax.nadam(0.1),
    "amsgrad": optax.amsgrad(0.1),
    "lamb": optax.lamb(0.1),
    "novograd": optax.novograd(0.1),
    "normalize_by_update_norm": NORMALISED,
    "scale_by_trust_ratio": optax.chain(optax.scale_by_trust_ratio(), optax.sgd(0.1)),
    "clip_by_global_norm": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
}
SAFE = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop(0.1),
    "adagrad": optax.adagrad(0.1),
    "adabelief": optax.adabelief(0.1),
    "lion": optax.lion(0.1),
    "clip": optax.chain(optax.clip(1.0), optax.sgd(0.1)),
    "adam with eps_root": optax.adam(0.1, eps_root=1e-8),
}


def at_a_task():
    matrix, center, start = quadratic_task()
    return start, KEY, (matrix, center)


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_inner_optimizers_are_refused(name):
    with pytest.raises(ValueError, match=r"inner_optimizer has no finite derivative.*eps_root=1e-8"):
        jmeta.gradient_descent(quadratic, UNSAFE[name], 1, adjoint=jmeta.unrolled()).run(*at_a_task())


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # by optax.novograd
@pytest.mark.parametrize("name", UNSAFE)
def test_first_order_takes_any_inner_optimizer(name):
    jmeta.gradient_descent(quadratic, UNSAFE[name], 1, adjoint=jmeta.first_order()).run(*at_a_task())


@pytest.mark.parametrize("name", SAFE)
def test_safe_inner_optimizers_are_accepted_and_stay_finite_with_a_dead_unit(name):
    """The second hidden unit is dead: its bias is so low that its gradient is exactly zero."""
    params = {"first": jnp.ones((1, 2)), "bias": jnp.array([0.5, -100.0]), "second": jnp.ones((2, 1))}
    x, y = jnp.linspace(-1, 1, 4)[:, None], jnp.linspace(0, 1, 4)[:, None]

    def objective(adapted, key, data, *, step=0):
        hidden = jax.nn.relu(x @ adapted["first"] + adapted["bias"][None])
        return jnp.square(hidden @ adapted["second"] - y).mean(), {}

    got = meta_gradient(objective, SAFE[name], 2, jmeta.unrolled(), params, (), lambda p: objective(p, KEY, ())[0])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(got))


def test_the_probe_works_where_a_learner_is_built_under_jit():
    def loss(initial):
        descent = jmeta.gradient_descent(quadratic, optax.sgd(0.1), 1, adjoint=jmeta.unrolled())
        return descent.run(initial, KEY, (jnp.eye(2), jnp.zeros(2))).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(jnp.ones(2)), 0.9, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: jmeta.unrolled(hessian_product="forward"),
            "hessian_product must be one of reverse, mixed, finite_difference; got 'forward'",
        ),
        (lambda: jmeta.unrolled(unroll=0), "unroll must be a whole number of at least 1; got 0"),
        (
            lambda: jmeta.gradient_descent(quadratic, optax.sgd(0.1), -1, adjoint=jmeta.unrolled()),
            "num_steps must be a whole number of at least 0; got -1",
        ),
    ],
)
def test_bad_arguments_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
