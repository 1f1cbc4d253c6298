"""The adapters against each library's own forward pass."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jmeta
from jmeta import Batch, Episode

X = jnp.linspace(-1, 1, 12).reshape(4, 3)


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.tanh(linen.Dense(8)(x))
        x = linen.Dropout(0.5, deterministic=not train)(x)
        return linen.Dense(2)(x)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.second(self.dropout(jnp.tanh(self.first(x))))


def equinox_net():
    eqx = pytest.importorskip("equinox")

    class EquinoxNet(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear
        dropout: eqx.nn.Dropout
        order: jax.Array  # integers are constants, not parameters

        def __init__(self, key):
            one, two = jax.random.split(key)
            self.first, self.second = eqx.nn.Linear(3, 8, key=one), eqx.nn.Linear(8, 2, key=two)
            self.dropout, self.order = eqx.nn.Dropout(0.5), jnp.arange(2)

        def __call__(self, x, *, key=None):
            return self.second(self.dropout(jnp.tanh(self.first(x)), key=key))[self.order]

    return EquinoxNet


def linen_model():
    return jmeta.from_linen(LinenNet())


def nnx_model():
    return jmeta.from_nnx(NnxNet)


def equinox_model():
    return jmeta.from_equinox(equinox_net())


ADAPTERS = pytest.mark.parametrize("build", [linen_model, nnx_model, equinox_model], ids=["linen", "nnx", "equinox"])


def own_forward(build, key):
    """Parameters, and the library's own deterministic forward pass as a function of them."""
    if build is linen_model:
        module = LinenNet()
        return module.init(key, X)["params"], lambda params: module.apply({"params": params}, X)
    if build is nnx_model:
        module = NnxNet(nnx.Rngs(key))
        module.eval()
        graph, params, rest = nnx.split(module, nnx.Param, ...)
        return params, lambda params: nnx.merge(graph, params, rest, copy=True)(X)
    eqx = pytest.importorskip("equinox")
    params, static = eqx.partition(equinox_net()(key), eqx.is_inexact_array)
    return params, lambda params: jax.vmap(eqx.nn.inference_mode(eqx.combine(params, static)))(X)


def assert_same(first, second, tolerance=1e-6):
    """Leaf by leaf, whatever the trees are made of; 1e-6 is a few roundings of float32 numbers of order one."""
    leaves, others = jax.tree.leaves(first), jax.tree.leaves(second)
    assert leaves
    chex.assert_trees_all_close(leaves, others, rtol=tolerance, atol=tolerance)


@ADAPTERS
def test_outputs_and_gradients_are_the_librarys_own(build):
    model, key = build(), jax.random.key(0)
    params = model.init(key, X)
    theirs, forward = own_forward(build, key)
    assert_same(params, theirs)
    assert_same(jax.jit(model.apply)(params, X), forward(theirs))
    ours = jax.grad(lambda params: jnp.square(model.apply(params, X)).sum())(params)
    assert_same(ours, jax.grad(lambda params: jnp.square(forward(params)).sum())(theirs), tolerance=1e-5)


@ADAPTERS
def test_another_key_gives_other_parameters_of_the_same_structure(build):
    model = build()
    one, other = model.init(jax.random.key(0), X), model.init(jax.random.key(1), X)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(one))
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@ADAPTERS
def test_dropout_follows_the_key_and_is_off_without_one(build):
    model = build()
    params = model.init(jax.random.key(0), X)
    apply = jax.jit(lambda key: model.apply(params, X, key=key))
    first, again, other = (apply(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(model.apply(params, X), model.apply(params, X))
    # Inverted dropout keeps the mean of what is linear in it: here the standard error over 2,000 keys is below 0.03.
    mean = jax.vmap(lambda key: model.apply(params, X, key=key))(jax.random.split(jax.random.key(3), 2000)).mean(axis=0)
    np.testing.assert_allclose(mean, model.apply(params, X), atol=0.12)


@ADAPTERS
def test_every_task_has_a_dropout_mask_of_its_own(build):
    model = build()
    params = model.init(jax.random.key(0), X)
    tasks = jnp.broadcast_to(X, (3, *X.shape))
    keys = jax.random.split(jax.random.key(1), 3)
    together = jax.vmap(lambda x, key: model.apply(params, x, key=key))(tasks, keys)
    for index, key in enumerate(keys):
        np.testing.assert_allclose(together[index], model.apply(params, X, key=key), rtol=1e-5, atol=1e-6)
    assert not np.allclose(together[0], together[1])
    assert not np.allclose(together[1], together[2])


@ADAPTERS
def test_maml_over_tasks_trains_it(build):
    """One inner step, the meta-gradient against central differences along itself."""
    learner = jmeta.maml(build(), jmeta.squared_error, optax.sgd(0.1))
    random = np.random.default_rng(0)
    batch = lambda: Batch(jnp.asarray(random.normal(size=(2, 4, 3)), float), jnp.asarray(random.normal(size=(2, 4, 2)), float))  # noqa: E731
    episodes = Episode(batch(), batch())
    params = learner.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], episodes))
    objective = jmeta.over_tasks(learner.loss)
    # One program for the loss and its gradient: compiling is what this test costs.
    differentiate = jax.jit(jax.value_and_grad(lambda params: objective(params, jax.random.key(1), episodes)[0]))
    value, gradient = differentiate(params)
    length = optax.tree.norm(gradient)
    moved = [differentiate(optax.tree.add_scale(params, sign * 1e-2 / length, gradient))[0] for sign in (1, -1)]
    # Differences of float32 losses of order 1 over 2e-2: 1e-5 of rounding, 1e-4 of truncation.
    assert float((moved[0] - moved[1]) / 2e-2) == pytest.approx(float(length), rel=5e-3)
    optimizer = optax.adam(1e-2)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    assert float(differentiate(optax.apply_updates(params, updates))[0]) < float(value)


class NormedLinen(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=False)(linen.Dense(2)(x))


class NormedNnx(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


def normed_equinox(key):
    eqx = pytest.importorskip("equinox")
    del key
    return eqx.nn.Sequential([eqx.nn.BatchNorm(3, axis_name="batch", mode="batch")])


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (lambda: jmeta.from_linen(NormedLinen()).init(jax.random.key(0), X), "module NormedLinen .* batch_stats"),
        (lambda: jmeta.from_nnx(NormedNnx), "constructor .* BatchStat"),
        (lambda: jmeta.from_equinox(normed_equinox), "constructor .* StateIndex"),
    ],
    ids=["linen", "nnx", "equinox"],
)
def test_hidden_state_is_refused_in_a_sentence(make, kinds):
    with pytest.raises(
        ValueError, match=f"{kinds.split(' .* ', maxsplit=1)[0]} must keep parameters only; got hidden state"
    ) as error:
        make()
    assert kinds.split(" .* ")[1] in str(error.value)
    assert "\n" not in str(error.value)


class Centred(linen.Module):
    """Mixes rows, and honours a mask."""

    @linen.compact
    def __call__(self, x, mask=None):
        return linen.Dense(2)(x - x.mean(axis=0, keepdims=True, where=None if mask is None else mask[:, None]))


class CentredNnx(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x, mask=None):
        return self.dense(x - x.mean(axis=0, keepdims=True, where=None if mask is None else mask[:, None]))


@pytest.mark.parametrize("build", [lambda: jmeta.from_linen(Centred()), lambda: jmeta.from_nnx(CentredNnx)], ids=["linen", "nnx"])
def test_a_mask_reaches_the_module(build):
    model = build()
    params = model.init(jax.random.key(0), X)
    padded = jnp.concatenate([X, jnp.full((2, 3), 7.0)])
    mask = jnp.array([True] * 4 + [False] * 2)
    np.testing.assert_allclose(model.apply(params, padded, mask=mask)[:4], model.apply(params, X), atol=1e-6)
    assert not np.allclose(model.apply(params, padded)[:4], model.apply(params, X), atol=1e-2)


@pytest.mark.parametrize(
    "build",
    [
        lambda: jmeta.from_linen(LinenNet(), mixes_rows=True),
        lambda: jmeta.from_nnx(NnxNet, mixes_rows=True),
        lambda: jmeta.from_equinox(equinox_net(), mixes_rows=True),
    ],
    ids=["linen", "nnx", "equinox"],
)
def test_a_mask_is_refused_where_rows_mix_unseen(build):
    model = build()
    params = model.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"model \w+ mixes rows and takes no mask"):
        model.apply(params, X, mask=jnp.ones(4, bool))


def test_an_equinox_module_may_take_the_whole_batch():
    eqx = pytest.importorskip("equinox")

    class Mean(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            return x.mean(axis=0, keepdims=True) * self.weight

    model = jmeta.from_equinox(lambda key: Mean(jnp.ones(())), mixes_rows=True)
    np.testing.assert_allclose(model.apply(model.init(jax.random.key(0), X), X), X.mean(axis=0, keepdims=True))


def test_equinox_parameters_are_readable():
    params = equinox_model().init(jax.random.key(0), X)
    assert params.first.weight.shape == (8, 3)
    assert params.order is None
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert paths == [".first.weight", ".first.bias", ".second.weight", ".second.bias"]


def test_deterministic_is_set_from_the_key():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, *, deterministic):
            return linen.Dropout(0.5, deterministic=deterministic)(x)

    model = jmeta.from_linen(Net())
    np.testing.assert_array_equal(model.apply({}, X), X)
    assert not np.allclose(model.apply({}, X, key=jax.random.key(0)), X)


def test_composing_chains_two_models():
    encoder, head = jmeta.from_linen(linen.Dense(5)), jmeta.from_linen(linen.Dense(2))
    model = jmeta.compose(encoder, head)
    params = model.init(jax.random.key(0), X)
    assert params.head["kernel"].shape == (5, 2)
    encoder_key, head_key = jax.random.split(jax.random.key(0))
    assert_same(params.encoder, encoder.init(encoder_key, X))
    features = X @ params.encoder["kernel"] + params.encoder["bias"][None]
    assert_same(params.head, head.init(head_key, features))
    np.testing.assert_allclose(
        model.apply(params, X), features @ params.head["kernel"] + params.head["bias"][None], rtol=1e-5, atol=1e-6
    )


def test_composing_splits_the_key_and_passes_the_mask():
    seen = []

    def part(name):
        def apply(params, x, *, key=None, mask=None):
            seen.append((name, None if key is None else jax.random.key_data(key).tolist(), mask))
            return x

        return jmeta.Model(lambda key, x: {}, apply, name)

    model = jmeta.compose(part("encoder"), part("head"))
    assert model.normalization == "encoder"
    params, mask = model.init(jax.random.key(0), X), jnp.ones(4, bool)
    seen.clear()
    model.apply(params, X, key=jax.random.key(1), mask=mask)
    model.apply(params, X)
    keys = jax.random.key_data(jax.random.split(jax.random.key(1))).tolist()
    assert seen == [("encoder", keys[0], mask), ("head", keys[1], mask), ("encoder", None, None), ("head", None, None)]


def test_the_normalization_is_read_from_the_module():
    assert jmeta.from_linen(jmeta.nn.ConvolutionalEncoder(normalization="batch")).normalization == "batch"
    assert jmeta.from_linen(linen.Dense(1)).normalization == "not stated"


# --- functions of one's own -------------------------------------------------------------------------------------------------------


def weights(key, x):
    return jax.random.normal(key, (x.shape[-1], 2))


def seen_by(apply, **given):
    """What ``apply`` is told; it returns it."""
    model = jmeta.from_functions(weights, apply)
    return model.apply(model.init(jax.random.key(0), X), X, **given)


KEY, MASK = jax.random.key(1), jnp.array([True, True, True, False])
# A signature, what it sees outside training, and with a key and a mask.
SIGNATURES = {
    "nothing": (lambda params, x: (), (), ()),
    "mask": (lambda params, x, mask: (mask,), (None,), (MASK,)),
    "key": (lambda params, x, *, key: (key,), (None,), (KEY,)),
    "key, by default": (lambda params, x, key=None: (key,), (None,), (KEY,)),
    "rng": (lambda params, x, rng: (rng,), (None,), (KEY,)),
    "train": (lambda params, x, train: (train,), (False,), (True,)),
    "is_training": (lambda params, x, is_training: (is_training,), (False,), (True,)),
    "deterministic": (lambda params, x, *, deterministic=True: (deterministic,), (True,), (False,)),
    "everything": (lambda params, x, mask, rng, train: (mask, rng, train), (None, None, False), (MASK, KEY, True)),
    "options of its own": (lambda params, x, scale=3.0, *, mask=None: (scale, mask), (3.0, None), (3.0, MASK)),
    "rng first, as in Haiku": (lambda params, rng, x: (rng, x is X), (None, True), (KEY, True)),
    "key first": (lambda params, key, x, mask: (key, x is X, mask), (None, True, None), (KEY, True, MASK)),
    "rng first, and anything": (
        lambda params, rng, *args, **kwargs: (rng, args[0] is X, kwargs),
        (None, True, {}),
        (KEY, True, {}),
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_is_given_what_its_signature_names(name):
    apply, still, training = SIGNATURES[name]
    assert seen_by(apply) == still
    found = seen_by(apply, key=KEY, mask=MASK)
    assert len(found) == len(training)
    assert all(one is other or one == other for one, other in zip(found, training, strict=True))


def test_functions_are_a_model_like_any_other():
    """The stax pair of jax itself, trained by MAML, against its own forward pass."""
    stax = pytest.importorskip("jax.example_libraries.stax")
    stax_init, apply = stax.serial(stax.Dense(8), stax.Tanh, stax.Dense(2))

    def stax_apply(params, x, **options):
        with jax.numpy_rank_promotion("allow"):  # stax adds its biases so
            return apply(params, x, **options)

    model = jmeta.from_functions(lambda key, x: stax_init(key, x.shape)[1], stax_apply, normalization="none")
    assert model.normalization == "none"
    params = model.init(jax.random.key(0), X)
    chex.assert_trees_all_equal(params, stax_init(jax.random.key(0), (4, 3))[1])
    np.testing.assert_array_equal(model.apply(params, X), stax_apply(params, X))
    learner = jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1), num_steps=0)
    episode = Episode(Batch(X, X[:, :2]), Batch(X, X[:, :2]))
    loss, _ = learner.loss(learner.init(jax.random.key(0), episode), jax.random.key(1), episode)
    np.testing.assert_allclose(loss, np.square(np.asarray(stax_apply(params, X)) - np.asarray(X[:, :2])).mean(), rtol=1e-6)


def test_a_function_that_mixes_rows_refuses_a_mask_that_it_does_not_take():
    model = jmeta.from_functions(weights, lambda params, x: (x - x.mean(axis=0, keepdims=True)) @ params, mixes_rows=True)
    params = model.init(jax.random.key(0), X)
    assert model.apply(params, X).shape == (4, 2)
    with pytest.raises(ValueError, match="model <lambda> mixes rows and takes no mask, so padded rows would change the real ones"):
        model.apply(params, X, mask=MASK)
    honest = jmeta.from_functions(weights, lambda params, x, mask: x @ params, mixes_rows=True)
    assert honest.apply(params, X, mask=MASK).shape == (4, 2)


@pytest.mark.parametrize(
    ("init", "apply", "sentence"),
    [
        (weights, "apply", "apply must be a function; got str"),
        (None, lambda params, x: x, "init must be a function; got NoneType"),
        (
            weights,
            lambda params, x, temperature: x,
            "apply must need parameters, x and mask, .* alone; got one that needs temperature",
        ),
        (weights, lambda params, state, rng, x: x, r"apply must keep parameters only; got hidden state \(state\)"),
        (weights, lambda params, rng, x, *, state: x, "got one that needs state"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(init, apply, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.from_functions(init, apply)


# --- modules in the place of models -----------------------------------------------------------------------------------------------

SENTENCES = {
    "a bare module": (
        lambda: jmeta.compose(linen.Dense(1), linen_model()),
        "encoder must be a Model; got Dense: make one by from_linen, from_nnx, from_equinox or from_functions",
    ),
    "a bare module as a head": (
        lambda: jmeta.hard_parameter_sharing(linen_model(), {"a": jmeta.Task(linen.Dense(1), jmeta.squared_error)}),
        "head must be a Model; got Dense",
    ),
    "a bare module in precision": (lambda: jmeta.compute_in(linen.Dense(1), jnp.bfloat16), "model must be a Model; got Dense"),
    "a bare module as an encoder": (lambda: jmeta.prototypical_networks(linen.Dense(1)), "encoder must be a Model; got Dense"),
    "a bare module to adapt": (
        lambda: jmeta.maml(linen.Dense(2), jmeta.squared_error, optax.sgd(0.1)),
        "model must be a Model; got Dense",
    ),
    "a bare module to take steps from": (
        lambda: jmeta.reptile(linen.Dense(2), jmeta.squared_error, optax.sgd(0.1)),
        "model must be",
    ),
    "a bare module with rates": (lambda: jmeta.meta_sgd(linen.Dense(2), jmeta.squared_error), "model must be a Model; got Dense"),
    "a bare head": (
        lambda: jmeta.anil(jmeta.EncoderHead(linen_model(), linen.Dense(2)), jmeta.squared_error, optax.sgd(0.1)),
        "model.head must be a Model; got Dense",
    ),
    "a bare body": (
        lambda: jmeta.boil(jmeta.EncoderHead(linen.Dense(2), linen_model()), jmeta.squared_error, optax.sgd(0.1)),
        "model.encoder must be a Model; got Dense",
    ),
    "one model in the place of two": (
        lambda: jmeta.anil(linen_model(), jmeta.squared_error, optax.sgd(0.1)),
        r"model must be an EncoderHead\(encoder, head\) of two models; got Model",
    ),
    "a nnx module made already": (
        lambda: jmeta.from_nnx(NnxNet(nnx.Rngs(0))),
        r"constructor must be a function that makes the module, such as lambda rngs: .*; got a NnxNet made already",
    ),
    "an equinox module made already": (
        lambda: jmeta.from_equinox(equinox_net()(jax.random.key(0))),
        r"constructor must be a function that makes the module, such as lambda key: .*; got a EquinoxNet made already",
    ),
    "a class of modules": (
        lambda: jmeta.from_linen(linen.Dense),
        "module must be a flax.linen module that is made already, .*; got the class Dense",
    ),
    "a module of another library": (
        lambda: jmeta.from_linen(NnxNet(nnx.Rngs(0))),
        "module must be a flax.linen module .*; got a NnxNet",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_what_is_no_model_or_made_already_is_said_in_a_sentence(name):
    build, sentence = SENTENCES[name]
    with pytest.raises(ValueError, match=sentence) as error:
        build()
    assert "\n" not in str(error.value)


# --- trees of inputs --------------------------------------------------------------------------------------------------------------


def tokens(kind):
    ids = jnp.arange(12).reshape(4, 3)
    there = (ids % 4 > 0).astype(jnp.float32)
    return {"ids": ids, "there": there} if kind == "dict" else (ids, there)


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_an_equinox_module_with_dropout_takes_trees(kind):
    """Token ids with their mask: in training and outside, and in the evaluation of a learner."""
    eqx = pytest.importorskip("equinox")

    class Bag(eqx.Module):
        embedding: eqx.nn.Embedding
        dropout: eqx.nn.Dropout

        def __init__(self, key):
            self.embedding, self.dropout = eqx.nn.Embedding(12, 3, key=key), eqx.nn.Dropout(0.5)

        def __call__(self, x, key=None):
            ids, there = (x["ids"], x["there"]) if kind == "dict" else x
            return self.dropout(there @ jax.vmap(self.embedding)(ids), key=key)

    model, x = jmeta.from_equinox(Bag), tokens(kind)
    params = model.init(jax.random.key(0), x)
    ids, there = jax.tree.leaves(x)
    expected = np.einsum("nt,ntf->nf", there, np.asarray(params.embedding.weight)[np.asarray(ids)])
    np.testing.assert_allclose(model.apply(params, x), expected, rtol=1e-6, atol=1e-6)
    dropped = np.asarray(model.apply(params, x, key=jax.random.key(1)))
    # Each number is gone, or twice what it was.
    np.testing.assert_allclose(dropped[dropped != 0], 2 * expected[dropped != 0], rtol=1e-6)
    assert 0 < (dropped == 0).mean() < 1

    def at(data, index, key):
        return Episode(Batch(data, jnp.array([0, 1, 0, 1])), Batch(data, jnp.array([0, 1, 0, 1])), jnp.ones(2, bool), index)

    sampler = jmeta.Sampler(x, lambda data, key: at(data, jnp.int32(0), key), 2, at)
    learner = jmeta.prototypical_networks(model)
    first = sampler.sample(x, jax.random.key(0))
    chex.assert_trees_all_equal(learner.init(jax.random.key(0), first), params)
    found = jmeta.evaluate(learner, params, sampler, metric=jmeta.accuracy)
    assert found.values[0] == found.values[1]  # deterministic
