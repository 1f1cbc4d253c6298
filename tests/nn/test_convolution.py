"""Convolution against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jmeta.nn import Conv, _direct, _products, conv_general_dilated
from jmeta.nn._windows import window_axes

# input, kernel, strides, padding, dilation
CASES = {
    "same": ((2, 5, 6, 3), (3, 3, 3, 4), (1, 1), "SAME", None),
    "same, strided, odd": ((2, 7, 5, 2), (3, 3, 2, 3), (2, 2), "SAME", None),
    "valid, unequal": ((1, 6, 5, 2), (2, 3, 2, 1), (1, 2), "VALID", None),
    "explicit, one-sided": ((2, 4, 5, 1), (3, 2, 1, 2), (2, 1), [(0, 2), (1, 0)], None),
    "same, lower": ((1, 6, 5, 2), (2, 3, 2, 2), (1, 2), "SAME_LOWER", None),
    "dilated, same": ((1, 7, 7, 2), (3, 2, 2, 2), (1, 1), "SAME", (2, 3)),
    "dilated, strided, valid": ((1, 9, 8, 1), (3, 3, 1, 2), (2, 1), "VALID", (2, 2)),
    "negative padding": ((1, 6, 6, 1), (2, 2, 1, 1), (1, 1), [(-1, 0), (0, -2)], None),
    "one pixel": ((3, 1, 1, 2), (1, 1, 2, 2), (1, 1), "SAME", None),
    "1-D": ((2, 9, 3), (4, 3, 2), (3,), "SAME", (2,)),
    "3-D": ((2, 4, 5, 3, 2), (3, 2, 2, 2, 2), (1, 2, 2), "SAME", None),
    "wide, strided by more than the window": ((4, 8, 7, 5), (2, 2, 5, 1), (3, 3), "VALID", None),
    "wide, dilated and strided": ((4, 9, 8, 4), (3, 2, 4, 2), (2, 3), "SAME", (3, 2)),
}
LAYOUTS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def pair(name, dtype=jnp.float64):
    """Inputs, and both convolutions as functions of them."""
    shape, kernel, strides, padding, dilation = CASES[name]
    random = np.random.default_rng(0)
    lhs, rhs = jnp.asarray(random.normal(size=shape), dtype), jnp.asarray(random.normal(size=kernel), dtype)
    options = {
        "window_strides": strides,
        "padding": padding,
        "rhs_dilation": dilation,
        "dimension_numbers": LAYOUTS[len(shape)],
    }
    return lhs, rhs, functools.partial(conv_general_dilated, **options), functools.partial(lax.conv_general_dilated, **options)


@pytest.mark.parametrize("name", CASES)
def test_values_and_first_derivatives_are_those_of_lax(x64, name):
    lhs, rhs, ours, theirs = pair(name)

    def both(convolve):
        def value(lhs, rhs):
            outputs = convolve(lhs, rhs)
            return jnp.sum(jnp.sin(outputs)), outputs

        (_, outputs), gradients = jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(lhs, rhs)
        return outputs, *gradients

    for one, other in zip(both(ours), both(theirs), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


# float32 has its own form, XLA's convolution; it adds a few hundred products of the order of the largest result. bfloat16 rounds
# the outputs and each of their derivatives to 8 bits.
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        *((name, jnp.float64, 1e-10) for name in CASES),
        *((name, jnp.float32, 1e-5) for name in ("same, strided, odd", "1-D")),
        ("same, strided, odd", jnp.bfloat16, 0.1),
    ],
)
def test_second_derivatives_are_those_of_lax_in_both_modes(x64, name, dtype, tolerance):
    lhs, rhs, ours, theirs = pair(name, dtype)

    # The inputs are arguments: jaxlib 0.7.2 folds lax's convolution of constants to a wrong forward-over-reverse product.
    @functools.partial(jax.jit, static_argnums=0)
    def products(convolve, *point):
        gradient = jax.grad(lambda arguments: jnp.sum(jnp.sin(convolve(*arguments)) ** 2))
        forward = jax.jvp(gradient, (point,), (point,))[1]
        reverse = jax.vjp(gradient, point)[1](point)[0]
        return forward, reverse

    wide = (lhs.astype(jnp.float64), rhs.astype(jnp.float64))
    (forward, reverse), (expected, _) = products(ours, lhs, rhs), products(theirs, *wide)
    for one, two, other in zip(forward, reverse, expected, strict=True):
        assert one.dtype == two.dtype == dtype
        largest = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * largest)
        np.testing.assert_allclose(two, other, rtol=tolerance, atol=tolerance * largest)


# What runs depends on the device, on the type and on the sizes; here every form runs.
@pytest.mark.parametrize("name", CASES)
def test_every_form_of_every_product_is_that_of_lax(x64, name):
    lhs, rhs, ours, theirs = pair(name)
    axes = window_axes(
        lhs.shape[1:-1],
        rhs.shape[:-2],
        ours.keywords["window_strides"],
        ours.keywords["padding"],
        ours.keywords["rhs_dilation"] or (1,) * (lhs.ndim - 2),
    )
    outputs, pullback = jax.vjp(jax.jit(theirs), lhs, rhs)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=outputs.shape))
    expected = {"output": outputs} | dict(zip(("input_gradient", "kernel_gradient"), pullback(cotangent), strict=True))
    operands = {"output": (lhs, rhs), "input_gradient": (cotangent, rhs), "kernel_gradient": (lhs, cotangent)}

    @jax.jit
    def forms_of(operands):
        forms = {}
        for product, (left, right) in operands.items():
            forms[product] = [getattr(_direct, product)(left, right, axes, None)]
            for chunk in (None, 1):  # the whole batch at once, and example by example
                forms[product].append(getattr(_products, product)(left[None], right[None], axes, None, chunk)[0])
        return forms

    for product, forms in forms_of(operands).items():
        for form in forms:
            np.testing.assert_allclose(form, expected[product], rtol=1e-10, atol=1e-10, err_msg=product)


@pytest.mark.parametrize("name", ["same, strided, odd", "wide, dilated and strided"])
@pytest.mark.parametrize(
    ("in_axes", "dtype", "tolerance"),
    [*((axes, jnp.float64, 1e-10) for axes in ((0, None), (None, 0), (0, 0), (1, -1))), ((1, -1), jnp.float32, 1e-5)],
)
def test_mapping_over_tasks_is_a_loop(x64, name, in_axes, dtype, tolerance):
    lhs, rhs, ours, theirs = pair(name, dtype)
    random, tasks = np.random.default_rng(2), 3

    def batched(x, axis):
        return x if axis is None else jnp.moveaxis(jnp.asarray(random.normal(size=(tasks, *x.shape)), dtype), 0, axis)

    lhs, rhs = batched(lhs, in_axes[0]), batched(rhs, in_axes[1])

    def products(convolve, *point):
        gradient = jax.grad(lambda point: jnp.sum(jnp.sin(convolve(*point)) ** 2))
        return convolve(*point), gradient(point), jax.jvp(gradient, (point,), (point,))[1]

    mapped = jax.jit(jax.vmap(functools.partial(products, ours), in_axes))(lhs, rhs)
    one = jax.jit(functools.partial(products, theirs))
    loop = [
        one(*(x if axis is None else jnp.take(x, task, axis) for x, axis in zip((lhs, rhs), in_axes, strict=True)))
        for task in range(tasks)
    ]
    for found, *rows in zip(jax.tree.leaves(mapped), *map(jax.tree.leaves, loop), strict=True):
        expected = jnp.stack(rows)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * float(jnp.abs(expected).max()))


# A cotangent that does not depend on what is mapped leaves one operand of a gradient without a task axis.
@pytest.mark.parametrize("in_axes", [(0, None, None), (None, 0, None), (None, None, 0)])
def test_gradients_with_one_mapped_operand_are_a_loop(x64, in_axes):
    lhs, rhs, ours, theirs = pair("same, strided, odd")
    random, tasks = np.random.default_rng(3), 3
    shapes = (lhs.shape, rhs.shape, jax.eval_shape(theirs, lhs, rhs).shape)
    sizes = [shape if axis is None else (tasks, *shape) for shape, axis in zip(shapes, in_axes, strict=True)]
    point = [jnp.asarray(random.normal(size=size)) for size in sizes]

    def gradients(convolve, lhs, rhs, cotangent):
        return jax.vjp(convolve, lhs, rhs)[1](cotangent)

    mapped = jax.jit(jax.vmap(functools.partial(gradients, ours), in_axes))(*point)
    one = jax.jit(functools.partial(gradients, theirs))
    for task in range(tasks):
        expected = one(*(x if axis is None else x[task] for x, axis in zip(point, in_axes, strict=True)))
        for found, other in zip(mapped, expected, strict=True):
            np.testing.assert_allclose(found[task], other, rtol=1e-10, atol=1e-10)


# Sums of 27 products of order one: a few roundings of float32; bfloat16 rounds the result to 8 bits.
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.05)])
def test_narrow_types_are_kept(dtype, tolerance):
    lhs, rhs, ours, _ = pair("same", dtype)
    exact = pair("same", jnp.float32)
    result = ours(lhs, rhs)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.astype(jnp.float32), exact[3](exact[0], exact[1]), rtol=tolerance, atol=tolerance)
    assert ours(lhs, rhs, preferred_element_type=jnp.float32).dtype == jnp.float32


def test_mapping_over_inputs_and_weights_leaves_no_convolution():
    lhs, rhs, ours, theirs = pair("same", jnp.float32)
    point = (jnp.stack([lhs, lhs]), jnp.stack([rhs, 2 * rhs]))

    def program(convolve):
        mapped = jax.vmap(convolve)
        np.testing.assert_allclose(mapped(*point)[1], 2 * theirs(lhs, rhs), rtol=1e-5, atol=1e-5)
        return jax.jit(jax.grad(lambda *point: jnp.sin(mapped(*point)).sum(), argnums=(0, 1))).lower(*point).as_text()

    assert "stablehlo.convolution" in program(theirs)
    assert "stablehlo.convolution" not in program(ours)


def test_it_is_an_argument_of_linen_conv():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 7, 3)), jnp.float32)
    options = {"features": 4, "kernel_size": (3, 3), "strides": (2, 2), "kernel_dilation": (2, 2)}
    theirs = linen.Conv(**options)
    params = theirs.init(jax.random.key(0), x)
    ours = linen.Conv(**options, conv_general_dilated=conv_general_dilated)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-5, atol=1e-5)


def test_it_is_an_argument_of_nnx_conv():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 7, 3)), jnp.float32)
    theirs, ours = (
        nnx.Conv(3, 4, (3, 3), strides=2, padding="VALID", rngs=nnx.Rngs(0), **extra)
        for extra in ({}, {"conv_general_dilated": conv_general_dilated})
    )
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lhs_dilation": (2, 1)}, r"lhs_dilation must be 1, .* got \(2, 1\)"),
        ({"feature_group_count": 3}, "feature_group_count and batch_group_count must be 1; got 3 and 1"),
        ({"batch_group_count": 2}, "must be 1; got 1 and 2"),
        ({"dimension_numbers": ("NCHW", "OIHW", "NCHW")}, "dimension_numbers must be channels-last"),
        ({"out_sharding": "model"}, "out_sharding must be None, .* got model"),
        ({"rhs": (3, 3, 2, 4)}, r"rhs must have the channels of lhs; got rhs \(3, 3, 2, 4\) for lhs \(2, 6, 6, 3\)"),
        ({"padding": "FULL"}, "padding must be one of SAME, SAME_LOWER, VALID or explicit; got 'FULL'"),
    ],
)
def test_what_is_not_supported_says_so(options, message):
    lhs, rhs = jnp.zeros((2, 6, 6, 3)), jnp.zeros(options.pop("rhs", (3, 3, 3, 4)))
    with pytest.raises(ValueError, match=message):
        conv_general_dilated(lhs, rhs, **({"window_strides": (1, 1), "padding": "SAME"} | options))


def test_the_layer_has_the_parameters_and_the_outputs_of_linen_conv():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 3)), jnp.float32)
    theirs, ours = (kind(4, (3, 2), strides=(2, 1), padding="VALID") for kind in (linen.Conv, Conv))
    params = theirs.init(jax.random.key(0), x)
    assert jax.tree.structure(ours.init(jax.random.key(0), x)) == jax.tree.structure(params)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-5, atol=1e-5)
    assert "conv_general_dilated[" not in str(jax.make_jaxpr(ours.apply)(params, x))
