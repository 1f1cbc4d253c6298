"""The encoders and the norm of the current batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jmeta
from jmeta.nn import BatchStatistics, ConvolutionalEncoder, MultilayerPerceptron

RANDOM = np.random.default_rng(0)
IMAGES = jnp.asarray(RANDOM.normal(size=(3, 8, 8, 1)), jnp.float32)


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 5, 2)])
def test_batch_statistics_are_those_of_flax_in_training(x64, shape):
    x = jnp.asarray(RANDOM.normal(loc=3, scale=2, size=shape))
    scale, bias = jnp.linspace(0.5, 2, shape[-1]), jnp.linspace(-1, 1, shape[-1])
    theirs, _ = linen.BatchNorm(use_running_average=False).apply(
        {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": jnp.zeros(shape[-1]), "var": jnp.ones(shape[-1])},
        },
        x,
        mutable=["batch_stats"],
    )
    ours = BatchStatistics().apply({"params": {"scale": scale, "bias": bias}}, x)
    # flax takes the variance as E[x^2] - E[x]^2, which loses a few digits of float64.
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", [0.0, 1e6, np.nan])
def test_padded_rows_do_not_count(x64, padding):
    x = jnp.asarray(RANDOM.normal(size=(4, 3, 3, 2)))
    padded = jnp.concatenate([x, jnp.full((2, 3, 3, 2), padding)])
    mask = jnp.array([True] * 4 + [False] * 2)
    module = BatchStatistics()
    params = module.init(jax.random.key(0), x)

    def value(params, x, mask, rows):
        outputs = module.apply(params, x, mask)[:rows]
        return jnp.sum(jnp.sin(outputs)), outputs

    (_, whole), expected = jax.value_and_grad(value, has_aux=True)(params, x, None, 4)
    (_, masked), gradient = jax.value_and_grad(value, has_aux=True)(params, padded, mask, 4)
    np.testing.assert_allclose(masked, whole, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_a_batch_without_a_real_row_stays_finite():
    module = BatchStatistics()
    params = module.init(jax.random.key(0), IMAGES)
    outputs = module.apply(params, IMAGES, jnp.zeros(3, bool))
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("normalization", ["group", "batch", "none"])
def test_shapes_of_the_four_block_encoder(pooling, normalization):
    encoder = ConvolutionalEncoder((4, 4, 4, 4), pooling=pooling, normalization=normalization)
    for size, expected in ((28, 4 if pooling else 16), (84, 100 if pooling else 144)):
        x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        outputs, params = jax.eval_shape(lambda x, encoder=encoder: encoder.init_with_output(jax.random.key(0), x), x)
        # Halved four times: 28, 14, 7, 3, 1 by pooling and 28, 14, 7, 4, 2 by strides.
        assert outputs.shape == (2, expected)
        assert params["params"]["Conv_0"]["kernel"].shape == (3, 3, 3, 4)
        assert (len(params["params"]) == 4) == (normalization == "none")


def test_the_omniglot_encoder_has_the_published_size():
    encoder = ConvolutionalEncoder(normalization="batch")
    params = jax.eval_shape(lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1))))
    # 3 * 3 * 1 * 64 and three times 3 * 3 * 64 * 64 weights, a bias, a scale and a shift per channel and block.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 3 * 3 * 64 + 3 * 3 * 3 * 64 * 64 + 4 * 3 * 64


@pytest.mark.parametrize(("normalization", "alone"), [("group", True), ("none", True), ("batch", False)])
def test_only_batch_statistics_see_the_other_rows(normalization, alone):
    model = jmeta.from_linen(ConvolutionalEncoder((2,), normalization=normalization))
    params = jax.jit(model.init)(jax.random.key(0), IMAGES)
    gap = np.abs(jax.jit(model.apply)(params, IMAGES)[:1] - jax.jit(model.apply)(params, IMAGES[:1])).max()
    assert (gap < 1e-5) == alone


def test_the_default_normalization_is_not_transductive():
    assert ConvolutionalEncoder().normalization == "group"
    assert jmeta.from_linen(ConvolutionalEncoder()).normalization == "group"


def test_an_encoder_with_batch_statistics_honours_the_mask():
    model = jmeta.from_linen(ConvolutionalEncoder((2, 2), normalization="batch"))
    params, apply = jax.jit(model.init)(jax.random.key(0), IMAGES), jax.jit(model.apply)
    padded, mask = jnp.concatenate([IMAGES, 9 + IMAGES[:1]]), jnp.array([True, True, True, False])
    np.testing.assert_allclose(apply(params, padded, mask=mask)[:3], apply(params, IMAGES), rtol=1e-4, atol=1e-5)


def test_an_unknown_normalization_is_refused_at_construction():
    with pytest.raises(ValueError, match="normalization must be one of group, batch, none; got 'layer'"):
        ConvolutionalEncoder(normalization="layer")


def test_the_perceptron_is_dense_layers_with_an_activation_between():
    x = jnp.asarray(RANDOM.normal(size=(5, 2, 2)), jnp.float32)
    module = MultilayerPerceptron((6, 3), activation=jnp.tanh)
    params = module.init(jax.random.key(0), x)["params"]
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.tanh(np.asarray(x).reshape(5, 4) @ np.asarray(first["kernel"]) + np.asarray(first["bias"]))
    expected = hidden @ np.asarray(second["kernel"]) + np.asarray(second["bias"])
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)
