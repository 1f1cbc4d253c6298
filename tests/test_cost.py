"""What a step is said to cost, against closed forms and XLA's own counts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import _cost
from jmeta._steps import TrainState
from jmeta.nn import conv_general_dilated

ROWS, INPUTS, OUTPUTS = 5, 32, 48
PRODUCT = 2 * ROWS * INPUTS * INPUTS
X, SQUARE = jnp.ones((ROWS, INPUTS)), jnp.ones((INPUTS, INPUTS))


def cost_of(function, params, data=()):
    """The cost of a step that is any function of parameters and data."""

    def step(state, data):
        return state._replace(params=jax.tree.map(jnp.zeros_like, state.params)), {"loss": function(state.params, data)}

    return jmeta.cost(step, TrainState(params, (), (), jax.random.key(0), jnp.zeros((), jnp.int32)), data)


def repeated(length, weights):
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ weights), None), X, None, length=length)[0].sum()


@jax.custom_vjp
def with_own_gradient(x):
    return x @ SQUARE


with_own_gradient.defvjp(lambda x: (x @ SQUARE, None), lambda _, gradient: (gradient,))


@jax.custom_jvp
def with_own_derivative(x):
    return x @ SQUARE


with_own_derivative.defjvp(lambda x, dx: (x[0] @ SQUARE, dx[0]))


def branches(weights, which):
    return jax.lax.switch(which, [lambda: X, lambda: X @ weights, lambda: X @ weights @ weights]).sum()


def until_large(weights, _):
    return jax.lax.while_loop(lambda x: x.sum() < 1e9, lambda x: x @ weights, X).sum()


def solved(weights, _):
    # The program that solves is one product, those that test a solution are not run.
    return jax.lax.custom_linear_solve(
        lambda x: weights @ x, X.T, solve=lambda _, b: weights.T @ b, transpose_solve=lambda _, b: weights @ b
    ).sum()


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda weights, _: (X @ weights).sum(), 1),
        (lambda weights, _: repeated(7, weights), 7),
        (lambda weights, _: jax.vmap(lambda scale: repeated(7, scale * weights))(jnp.ones(3)), 21),
        (lambda weights, _: jax.lax.map(lambda scale: repeated(7, scale * weights), jnp.ones(3)), 21),
        (lambda weights, _: jax.lax.fori_loop(0, 4, lambda _, x: x @ weights, X).sum(), 4),
        (lambda weights, _: jax.jit(lambda x: x @ weights)(X).sum(), 1),
        (lambda weights, _: jax.grad(lambda weights: (X @ weights).sum() ** 2)(weights), 2),
        (lambda weights, _: with_own_gradient(X).sum() + weights.sum(), 1),
        (lambda weights, _: with_own_derivative(X).sum() + weights.sum(), 1),
        (until_large, 1),
        (solved, 1),
    ],
)
def test_products_are_multiplied_by_the_length_of_loops(function, products):
    def scalar(weights, data):
        return jnp.sum(function(weights, data))

    assert cost_of(scalar, SQUARE).flops == products * PRODUCT


def test_a_branch_costs_what_its_dearest_alternative_does():
    assert cost_of(branches, SQUARE, jnp.zeros((), jnp.int32)).flops == 2 * PRODUCT


def test_what_no_result_needs_is_left_out():
    assert cost_of(lambda weights, _: (X @ weights, X.sum())[1], SQUARE).flops == 0


def test_rematerialised_work_counts_again():
    def loss(weights, x):
        return jnp.tanh(jnp.tanh(x @ weights) @ weights).sum()

    def gradient(rematerialise):
        return lambda weights, x: jax.grad(jax.checkpoint(loss) if rematerialise else loss)(weights, x).sum()

    # Two products forwards; backwards two for the weights and one for what lies between.
    assert cost_of(gradient(False), SQUARE, X).flops == 5 * PRODUCT
    # Once more forwards; the first forward pass is needed by nobody.
    assert cost_of(gradient(True), SQUARE, X).flops == 5 * PRODUCT
    # And by somebody where the loss is asked for as well.
    value_too = jax.value_and_grad(jax.checkpoint(loss))
    assert cost_of(lambda weights, x: sum(map(jnp.sum, value_too(weights, x))), SQUARE, X).flops == 7 * PRODUCT


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 2), "padding": "VALID"},
        {"window_strides": (1, 1), "padding": ((3, 1), (0, 2)), "lhs_dilation": (2, 3)},
        {"window_strides": (2, 1), "padding": "SAME", "rhs_dilation": (2, 2)},
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
        {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 2},
    ],
)
def test_convolutions_are_counted_as_xla_counts_them(options):
    groups = options.get("feature_group_count", 1)
    images, kernel = jnp.ones((4, 9, 8, 6)), jnp.ones((3, 2, 6 // groups, 10))

    def convolve(kernel, images):
        return jax.lax.conv_general_dilated(images, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    # Of the program as it is written, before the compiler rewrites it.
    expected = jax.jit(convolve).lower(kernel, images).cost_analysis()["flops"]
    assert _cost._needed_flops(jax.make_jaxpr(convolve)(kernel, images)) == expected


@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "SAME"), ((2, 3), "VALID")])
def test_our_convolution_and_its_derivatives_count_as_xlas(strides, padding):
    kernel, images = jnp.ones((3, 2, 3, 5)), jnp.ones((2, 9, 8, 3))

    def curvature(convolve):
        def loss(kernel, images):
            outputs = convolve(images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return jnp.sin(outputs).sum()

        gradient = jax.grad(loss, argnums=(0, 1))
        return jax.make_jaxpr(lambda *point: jax.jvp(gradient, point, point))(kernel, images)

    ours, xlas = map(curvature, (conv_general_dilated, jax.lax.conv_general_dilated))
    assert _cost._needed_flops(ours) == _cost._needed_flops(xlas) > 0
    mapped = jax.make_jaxpr(jax.vmap(lambda kernel: conv_general_dilated(images, kernel, (1, 1), "SAME")))(jnp.stack([kernel] * 4))
    once = jax.make_jaxpr(lambda kernel: conv_general_dilated(images, kernel, (1, 1), "SAME"))(kernel)
    assert _cost._needed_flops(mapped) == 4 * _cost._needed_flops(once)


def test_a_convolution_by_hand():
    images, kernel = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))

    def convolve(kernel, images):
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).sum()

    # Along an axis three taps at three inner places and two at both ends.
    assert cost_of(convolve, kernel, images).flops == 2 * 2 * 3 * 4 * 13**2


def meta_step(**options):
    """MAML with two inner steps of a linear model: 8 tasks."""
    model = jmeta.Model(lambda key, x: jnp.zeros((INPUTS, OUTPUTS)), lambda params, x, *, key=None, mask=None: x @ params)
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=2)
    batch = jmeta.Batch(jnp.ones((8, ROWS, INPUTS)), jnp.ones((8, ROWS, OUTPUTS)))
    state = jmeta.init_state(jnp.zeros((INPUTS, OUTPUTS)), optax.adam(0.1), jax.random.key(0))
    return jmeta.make_step(jmeta.over_tasks(learner.loss), optax.adam(0.1), **options), state, jmeta.Episode(batch, batch)


def test_micro_batches_cost_as_many_operations_as_tasks_at_once():
    at_once, in_turn = (jmeta.cost(*meta_step(micro_batch=size)) for size in (None, 1))
    assert at_once.flops == in_turn.flops > 0
    assert at_once.flops % (8 * 2 * ROWS * INPUTS * OUTPUTS) == 0


def test_sizes_are_those_of_the_arrays():
    step, state, data = meta_step()
    found = jmeta.cost(step, state, data)
    size = {name: sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for name, tree in (("state", state), ("data", data))}
    # Every array of the CPU's programs is as long as its values; the two metrics are a scalar each, behind a table of pointers.
    assert found.argument_bytes == size["state"] + size["data"]
    assert found.output_bytes is not None
    assert size["state"] <= found.output_bytes <= size["state"] + 1024
    # The state is overwritten, its counters and its key perhaps not.
    assert found.aliased_bytes is not None
    assert 3 * INPUTS * OUTPUTS * 4 <= found.aliased_bytes <= size["state"]
    assert found.temporary_bytes is not None
    assert found.temporary_bytes > 0
    assert found.bytes_accessed is not None
    assert found.bytes_accessed > size["state"]
    assert found.compile_seconds > 0


def test_shapes_are_enough_and_nothing_is_given_away():
    step, state, data = meta_step()
    shapes = jax.eval_shape(lambda: (state, data))
    measured, foreseen = jmeta.cost(step, state, data), jmeta.cost(step, *shapes)
    assert measured._replace(compile_seconds=0.0) == foreseen._replace(compile_seconds=0.0)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, data)))


def test_several_seeds_cost_as_many_times_the_operations():
    step, state, data = meta_step()
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    several = jmeta.cost(jax.vmap(step, in_axes=(0, None)), states, data)
    assert several.flops == 3 * jmeta.cost(step, state, data).flops


@pytest.mark.parametrize("answer", [None, [], NotImplementedError()])
def test_what_a_backend_does_not_tell_is_none(answer, monkeypatch):
    def tell(self):
        if isinstance(answer, Exception):
            raise answer
        return answer

    for name in ("cost_analysis", "memory_analysis"):
        monkeypatch.setattr(jax.stages.Compiled, name, tell)
    found = jmeta.cost(*meta_step())
    assert found[1:-1] == (None,) * 5
    assert found.flops > 0
    assert jmeta.does_not_fit(found) is None


def test_a_list_of_analyses_is_read(monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: [{"bytes accessed": 12.0}])
    assert jmeta.cost(*meta_step()).bytes_accessed == 12


class Accelerator:
    platform = "gpu"

    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats

    def __str__(self):
        return "cuda:0"


def test_what_does_not_fit_an_accelerator_is_said():
    needs = jmeta.Cost(0, 0, argument_bytes=100, output_bytes=80, aliased_bytes=70, temporary_bytes=1_000, compile_seconds=0.0)
    assert jmeta.does_not_fit(needs, Accelerator({"bytes_limit": 1_110})) is None
    assert jmeta.does_not_fit(needs, Accelerator({"bytes_limit": 1_109})) == (
        "one step needs 1.11 kB of memory, 1 kB of it temporary; cuda:0 has 1.11 kB: run fewer tasks at once (micro_batch) or "
        "rematerialise the inner steps."
    )
    assert jmeta.does_not_fit(needs, Accelerator(None)) is None


def test_a_cpu_has_the_memory_of_its_machine_or_control_group(tmp_path, monkeypatch):
    needs = jmeta.Cost(0, 0, 0, 0, 0, temporary_bytes=2**60, compile_seconds=0.0)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(_cost, "CGROUP_LIMIT", limit)
    monkeypatch.setattr(_cost.os, "sysconf", {"SC_PHYS_PAGES": 10**6, "SC_PAGE_SIZE": 4_000}.__getitem__)
    expected = {None: "has 4 GB", "max\n": "has 4 GB", "3000000000\n": "has 3 GB", "9000000000\n": "has 4 GB"}
    for text, words in expected.items():
        if text is not None:
            limit.write_text(text)
        assert words in str(jmeta.does_not_fit(needs, jax.devices("cpu")[0]))
    assert jmeta.does_not_fit(needs._replace(temporary_bytes=10**9)) is None


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1, "1 B"), (999, "999 B"), (999.9, "1 kB"), (1_000, "1 kB"), (12_345_678, "12.3 MB"), (2**70, "1.18e+06 PB")],
)
def test_numbers_are_readable(number, text):
    assert _cost.readable(np.float64(number), "B") == text
