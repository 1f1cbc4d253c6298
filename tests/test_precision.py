"""Computing in fewer bits than are learned in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, Episode

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 12).reshape(4, 3)


class Net(linen.Module):
    normalization: str = "none"

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.tanh(linen.Dense(8)(x)))


MODEL = jmeta.from_linen(Net())


def episodes():
    keys = jax.random.split(KEY, 4)
    support, query = (Batch(jax.random.normal(a, (2, 4, 3)), jax.random.normal(b, (2, 4, 2))) for a, b in (keys[:2], keys[2:]))
    return Episode(support, query)


def meta_gradient(model):
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=3)
    params = learner.init(KEY, jax.tree.map(lambda leaf: leaf[0], episodes()))
    objective = lambda params: jmeta.over_tasks(learner.loss)(params, KEY, episodes())  # noqa: E731
    adapted = learner.adapt(params, KEY, jax.tree.map(lambda leaf: leaf[0], episodes().support))
    return params, adapted, *jax.jit(jax.value_and_grad(objective, has_aux=True))(params)


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def test_everything_but_the_products_is_float32():
    params, adapted, (loss, metrics), gradient = meta_gradient(jmeta.compute_in(MODEL, jnp.bfloat16))
    optimizer = optax.sgd(0.1, momentum=0.9)
    updates, state = optimizer.update(gradient, optimizer.init(params), params)
    assert dtypes((params, adapted, loss, metrics, gradient, state, optax.apply_updates(params, updates))) == {"float32"}


def test_forward_and_backward_products_are_bfloat16():
    model = jmeta.compute_in(MODEL, jnp.bfloat16)
    params = model.init(KEY, X)
    text = str(jax.make_jaxpr(jax.grad(lambda params: model.apply(params, X).sum()))(params))
    products = [line for line in text.splitlines() if "dot_general" in line]
    # Two forward, three backward: the input needs no derivative.
    assert len(products) == 5
    assert all("bf16[" in line.split("=")[0] for line in products)


def test_the_meta_gradient_is_that_of_float32_to_the_bits_that_are_kept():
    *_, (loss, _), gradient = meta_gradient(jmeta.compute_in(MODEL, jnp.bfloat16))
    *_, (exact_loss, _), exact = meta_gradient(MODEL)
    # Each rounding is 2^-9; some thirty of them follow each other in three steps and their derivatives and add up like noise.
    tolerance = 2**-9 * 30**0.5
    assert float(loss) == pytest.approx(float(exact_loss), rel=tolerance)
    error = optax.tree.norm(optax.tree.sub(gradient, exact))
    assert 0 < error < tolerance * optax.tree.norm(exact)


def test_float32_and_float64_change_nothing(x64):
    for dtype in ("float32", "float64"):
        model = jmeta.compute_in(MODEL, dtype)
        params = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), MODEL.init(KEY, X))
        x = X.astype(dtype)
        np.testing.assert_array_equal(model.apply(params, x), MODEL.apply(params, x))
        assert model.apply(params, x).dtype == dtype


def test_composed_models_take_it_whole_or_by_part():
    encoder, head = jmeta.from_linen(linen.Dense(5)), jmeta.from_linen(linen.Dense(2))
    whole = jmeta.compute_in(jmeta.compose(encoder, head), jnp.bfloat16)
    params = whole.init(KEY, X)
    encoder_only = jmeta.compose(jmeta.compute_in(encoder, jnp.bfloat16), head)
    exact = jmeta.compose(encoder, head).apply(params, X)
    for model in (whole, encoder_only):
        outputs = jax.jit(model.apply)(params, X)
        assert outputs.dtype == jnp.float32
        # Sums of a few terms of order one, each rounded to 8 bits.
        np.testing.assert_allclose(outputs, exact, atol=0.03)
        assert not np.array_equal(outputs, exact)


def test_keys_masks_and_integers_pass_as_they_are():
    seen = {}

    def apply(params, x, *, key=None, mask=None):
        seen.update(params=params, x=x, key=key, mask=mask)
        return x["tokens"]

    model = jmeta.compute_in(jmeta.Model(lambda key, x: {}, apply, "batch"), jnp.bfloat16)
    assert model.normalization == "batch"
    params = {"kernel": jnp.ones(2), "table": jnp.arange(2), "key": jax.random.key(1)}
    x, mask = {"tokens": jnp.arange(3), "image": np.ones((3, 2), np.float32)}, jnp.ones(3, bool)
    outputs = model.apply(params, x, key=KEY, mask=mask)
    assert outputs.dtype == jnp.int32
    assert seen["key"] is KEY
    assert seen["mask"] is mask
    assert [seen["params"][name].dtype for name in ("kernel", "table")] == [jnp.bfloat16, jnp.int32]
    assert seen["params"]["key"] is params["key"]
    assert [seen["x"][name].dtype for name in ("tokens", "image")] == [jnp.int32, jnp.bfloat16]


@pytest.mark.parametrize("dtype", [jnp.int32, "bool", jnp.complex64])
def test_another_type_is_refused_in_a_sentence(dtype):
    with pytest.raises(ValueError, match=r"dtype must be a floating-point type .*; got (int32|bool|complex64)"):
        jmeta.compute_in(MODEL, dtype)
