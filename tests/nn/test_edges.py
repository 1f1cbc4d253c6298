"""Arrays with an empty dimension, windows that see nothing, and arguments that fit no array."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from jmeta.nn import BatchStatistics, ConvolutionalEncoder, MultilayerPerceptron, avg_pool, conv_general_dilated, max_pool

KEY = jax.random.key(0)
LAYOUTS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
POOLS = [(max_pool, avg_pool), (linen.max_pool, linen.avg_pool)]
# input, kernel, strides, padding, dilation
CONVOLUTIONS = {
    "taps see padding alone": ((1, 1, 3, 8), (2, 2, 8, 1), (3, 3), [(2, 3), (2, 3)], (1, 1)),
    "taps of the inner axis see padding alone": ((2, 3, 1, 1), (2, 2, 1, 3), (1, 3), [(0, 1), (2, 3)], (1, 1)),
    "some taps see padding alone": ((2, 1, 2, 2), (3, 2, 2, 3), (2, 1), "SAME", (2, 3)),
    "no examples": ((0, 4, 3, 2), (2, 2, 2, 3), (1, 2), "SAME", (1, 1)),
    "no channels": ((2, 4, 3, 0), (2, 2, 0, 3), (1, 2), "SAME", (1, 1)),
    "no features": ((2, 4, 3, 2), (1, 2, 2, 0), (2, 2), "SAME", (1, 1)),
    "no rows": ((2, 0, 3, 2), (1, 2, 2, 3), (4, 2), "VALID", (1, 1)),
    "no columns, padded": ((2, 3, 0, 2), (3, 2, 2, 3), (2, 2), [(0, 0), (2, 2)], (1, 1)),
    "no place": ((1, 3, 2, 1), (2, 2, 1, 2), (3, 1), "VALID", (1, 3)),
    "cropped to nothing": ((1, 3, 2), (1, 2, 2), (2,), [(-2, -1)], (1,)),
    "cropped to padding": ((1, 3, 2), (2, 2, 2), (1,), [(-5, 5)], (1,)),
    "no place in space": ((2, 2, 1, 3, 1), (3, 1, 2, 1, 1), (3, 1, 2), "VALID", (1, 1, 1)),
}
MAPPED = ("taps see padding alone", "no examples", "no channels", "no features", "no rows", "no place")
POOLINGS = {
    "padding alone": ((1, 1, 3, 2), (2, 2), (3, 3), ((2, 3), (2, 3))),
    "no examples": ((0, 4, 3, 2), (2, 2), (2, 2), "VALID"),
    "no channels": ((2, 4, 3, 0), (2, 2), None, "SAME"),
    "no rows": ((2, 0, 3, 2), (2, 2), (2, 2), "SAME"),
    "no rows, padded": ((2, 0, 2), (2,), (2,), ((2, 2),)),
    "no place": ((2, 3, 1, 1), (2, 3), (3, 1), "VALID"),
    "no place, side by side": ((2, 1, 3, 1), (2, 2), (2, 2), "VALID"),
    "no place in space": ((2, 2, 1, 3, 1), (3, 1, 2), (1, 3, 2), "VALID"),
}


def case(convolve, name):
    shape, _, strides, padding, dilation = CONVOLUTIONS[name]
    options = {"window_strides": strides, "padding": padding, "rhs_dilation": dilation, "dimension_numbers": LAYOUTS[len(shape)]}
    return functools.partial(convolve, **options)


def compare(ours, theirs, tolerance):
    for (path, one), (_, other) in zip(*map(jax.tree_util.tree_leaves_with_path, (ours, theirs)), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), path
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=str(path))


# float64 runs as products, float32 as XLA's convolution.
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-10), (jnp.float32, 1e-5)])
def test_convolution_at_the_edge_is_that_of_lax(x64, dtype, tolerance):
    random = np.random.default_rng(0)
    points = {
        name: [jnp.asarray(random.normal(size=size), dtype) for size in sizes] for name, (*sizes, _, _, _) in CONVOLUTIONS.items()
    }

    def derivatives(convolve, x, kernel):
        outputs, pullback = jax.vjp(convolve, x, kernel)
        gradient = jax.grad(lambda point: jnp.sum(jnp.sin(convolve(*point))))
        return outputs, pullback(jnp.cos(outputs)), jax.jvp(gradient, ((x, kernel),), ((x, kernel),))[1]

    def results(convolve):
        return jax.jit(lambda points: {name: derivatives(case(convolve, name), *point) for name, point in points.items()})(points)

    compare(results(conv_general_dilated), results(lax.conv_general_dilated), tolerance)


@pytest.mark.parametrize("tasks", [2, 0])
def test_convolution_at_the_edge_is_mapped_over_tasks(x64, tasks):
    random = np.random.default_rng(1)

    def of_tasks(shape, axis):
        return jnp.asarray(random.normal(size=shape if axis is None else (tasks, *shape)))

    cases = list(itertools.product(MAPPED, ((0, None), (None, 0), (0, 0))))
    points = [list(map(of_tasks, CONVOLUTIONS[name][:2], in_axes)) for name, in_axes in cases]

    def results(convolve):
        def one(name, x, kernel):
            outputs, pullback = jax.vjp(case(convolve, name), x, kernel)
            return outputs, pullback(jnp.cos(outputs))

        mapped = {str(at): jax.vmap(functools.partial(one, at[0]), at[1]) for at in cases}
        return jax.jit(lambda *points: {at: mapped[at](*point) for at, point in zip(mapped, points, strict=True)})(*points)

    compare(results(conv_general_dilated), results(lax.conv_general_dilated), 1e-10)


def test_pooling_at_the_edge_is_flaxs(x64):
    random = np.random.default_rng(2)
    points = {name: jnp.asarray(random.normal(size=(2, *shape))) for name, (shape, *_) in POOLINGS.items()}

    def results(pools):
        def one(x, pool, options):
            outputs, pullback = jax.vjp(lambda x: pool(x, *options), x)
            return outputs, pullback(jnp.ones_like(outputs))

        def of_pool(pool):
            return {
                name: jax.vmap(functools.partial(one, pool=pool, options=options))(points[name])
                for name, (_, *options) in POOLINGS.items()
            }

        return jax.jit(lambda: list(map(of_pool, pools)))()

    compare(*(results([top, mean, functools.partial(mean, count_include_pad=False)]) for top, mean in POOLS), 1e-12)


# 300 ones are 256 in bfloat16, whose integers are even from there on, and 44 in bytes.
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.uint8])
def test_an_average_is_summed_in_digits_enough(dtype):
    x = jnp.ones((1, 300, 1), dtype)
    for average in jax.jit(lambda x: [avg_pool(x, (300,), count_include_pad=include) for include in (True, False)])(x):
        np.testing.assert_array_equal(average.astype(jnp.float32), linen.avg_pool(x.astype(jnp.float32), (300,)))
        assert average.dtype == (jnp.float32 if dtype == jnp.uint8 else dtype)


def test_truth_values_are_pooled_as_flax_pools_them():
    x = jnp.asarray([True, False, False, False]).reshape(1, 4, 1)
    np.testing.assert_array_equal(max_pool(x, (2,), (2,), ((2, 2),)), linen.max_pool(x, (2,), (2,), ((2, 2),)))


def test_narrow_integers_are_summed_in_the_type_of_the_result():
    x, kernel = jnp.full((1, 3, 2), 100, jnp.int8), jnp.ones((2, 2, 1), jnp.int8)
    options = {"window_strides": (1,), "padding": "SAME", "dimension_numbers": LAYOUTS[3], "preferred_element_type": jnp.int32}
    np.testing.assert_array_equal(conv_general_dilated(x, kernel, **options), lax.conv_general_dilated(x, kernel, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (2, 6, 3)}, r"window must hold .* for each spatial axis.* got \(2, 2\) for spatial sizes \(6,\)"),
        ({"shape": (2, 6, 6, 6, 3)}, r"window must hold .* for each spatial axis.* got \(2, 2\) for spatial sizes \(6, 6, 6\)"),
        ({"window_shape": (2, 0)}, r"window must hold a positive integer .* got \(2, 0\)"),
        ({"window_shape": 2}, "window must hold a positive integer .* got 2 "),
        ({"window_shape": (), "shape": (2, 3)}, r"window must hold .* at least one; got \(\)"),
        ({"strides": (1,)}, r"strides must hold a positive integer for each spatial axis.* got \(1,\)"),
        ({"strides": (0, 1)}, r"strides must hold a positive integer .* got \(0, 1\)"),
        ({"strides": (1, -1)}, r"strides must hold a positive integer .* got \(1, -1\)"),
        ({"padding": ((1, 1),)}, r"padding must be integers \(low, high\) for each spatial axis.* got \(\(1, 1\),\)"),
        ({"padding": 1}, r"padding must be integers \(low, high\) .* got 1"),
        ({"padding": ((-4, -3), (0, 0))}, r"padding must .* cut off no more than there is; got .* for spatial sizes \(6, 6\)"),
    ],
)
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_a_pooling_that_fits_no_array_says_so(pool, options, message):
    x = jnp.zeros(options.get("shape", (2, 6, 6, 3)))
    with pytest.raises(ValueError, match=message):
        pool(x, **{"window_shape": (2, 2)} | {name: value for name, value in options.items() if name != "shape"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lhs": (2, 6, 3)}, r"lhs and rhs must be .* of one rank, at least 3; got \(2, 6, 3\) and \(3, 3, 3, 4\)"),
        ({"lhs": (2, 3), "rhs": (3, 4)}, r"lhs and rhs must be .* of one rank, at least 3; got \(2, 3\) and \(3, 4\)"),
        ({"rhs": (0, 3, 3, 4)}, r"window must hold a positive integer .* got \(0, 3\)"),
        ({"window_strides": (1,)}, r"strides must hold a positive integer for each spatial axis.* got \(1,\)"),
        ({"window_strides": (0, 1)}, r"strides must hold a positive integer .* got \(0, 1\)"),
        ({"rhs_dilation": (1, 1, 1)}, r"dilation must hold a positive integer for each spatial axis.* got \(1, 1, 1\)"),
        ({"rhs_dilation": (1, 0)}, r"dilation must hold a positive integer .* got \(1, 0\)"),
        ({"padding": [(1, 1)]}, r"padding must be integers \(low, high\) for each spatial axis.* got \[\(1, 1\)\]"),
        ({"padding": [(0, 0), (-3, -4)]}, r"padding must .* cut off no more than there is; got .* for spatial sizes \(6, 6\)"),
    ],
)
def test_a_convolution_that_fits_no_array_says_so(options, message):
    options = {"lhs": (2, 6, 6, 3), "rhs": (3, 3, 3, 4), "window_strides": (1, 1), "padding": "SAME"} | options
    lhs, rhs = jnp.zeros(options.pop("lhs")), jnp.zeros(options.pop("rhs"))
    with pytest.raises(ValueError, match=message):
        conv_general_dilated(lhs, rhs, **options)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (ConvolutionalEncoder((2,) * 4), (3, 8, 28, 1), "at least 16 x 16 pixels, which 4 blocks halve to one; got 8 x 28"),
        (ConvolutionalEncoder((2, 2), pooling=False), (3, 28, 28), r"images \[n, height, width, channels\] .* got \(3, 28, 28\)"),
        (ConvolutionalEncoder((2, 2), pooling=False), (3, 0, 28, 1), r"at least one pixel and one channel; got \(3, 0, 28, 1\)"),
        (ConvolutionalEncoder((2, 2)), (3, 28, 28, 0), r"at least one pixel and one channel; got \(3, 28, 28, 0\)"),
        (MultilayerPerceptron((2, 2)), (3, 4, 0), r"at least one number in each example; got \(3, 4, 0\)"),
        (MultilayerPerceptron((2, 2)), (), r"x must be \[n, ...\] .* got \(\)"),
    ],
)
def test_an_input_without_a_number_is_refused(module, shape, message):
    with pytest.raises(ValueError, match=message):
        module.init(KEY, jnp.zeros(shape))


def test_the_smallest_images_give_one_pixel():
    encoder = ConvolutionalEncoder((2, 2, 3))
    outputs, _ = jax.eval_shape(lambda x: encoder.init_with_output(KEY, x), jax.ShapeDtypeStruct((5, 8, 9, 1), jnp.float32))
    assert outputs.shape == (5, 3)


@pytest.mark.parametrize("network", [ConvolutionalEncoder, MultilayerPerceptron])
@pytest.mark.parametrize("features", [(), (4, 0), (-1,), 4])
def test_a_network_without_a_width_is_refused_at_construction(network, features):
    with pytest.raises(ValueError, match="features must hold a positive width for each layer, at least one; got"):
        network(features)


@pytest.mark.parametrize(("module", "outputs"), [(ConvolutionalEncoder((2, 3)), 3), (MultilayerPerceptron((2, 3)), 3)])
def test_no_examples_give_no_outputs_and_no_gradient(module, outputs):
    params = jax.eval_shape(module.init, KEY, jnp.zeros((1, 4, 4, 1)))
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), params)

    def total(params):
        found = module.apply(params, jnp.zeros((0, 4, 4, 1)))
        return found.sum(), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(params)
    assert found.shape == (0, outputs)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("rows", [(1,), (4,), (3, 1)])
def test_a_mask_of_other_rows_is_refused(rows):
    with pytest.raises(ValueError, match=r"mask must be \[n\] for x \[n, \.\.\., channels\]; got .* for \(3, 2\)"):
        BatchStatistics().init(KEY, jnp.ones((3, 2)), jnp.ones(rows, bool))
