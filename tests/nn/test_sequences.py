"""Encoders of padded sequences, against loops in NumPy and flax's cells."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, Episode
from jmeta.nn import EmbeddingBag, RecurrentEncoder

CELLS, POOLINGS = ("gru", "lstm"), ("last", "mean")
# Sums of a few numbers of about 1 in float64.
EXACT = {"rtol": 1e-10, "atol": 1e-10}
# Steps that are real: all, some first, some last, some between, one.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0]], bool)
IDS = np.random.default_rng(1).integers(0, 7, MASK.shape)


def sequences(padding=0.0):
    values = np.random.default_rng(0).normal(size=(*MASK.shape, 3))
    return {"values": jnp.asarray(np.where(MASK[..., None], values, padding)), "mask": jnp.asarray(MASK)}


def tokens(padding=0):
    return {"ids": jnp.asarray(np.where(MASK, IDS, padding)), "mask": jnp.asarray(MASK)}


def normal_params(module, x, seed=2):
    """Parameters none of which is 0, in float64."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) / 2), shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive(params, x, cell, pooling):
    """One sequence after another, one step after another, one gate after another."""
    params = jax.tree.map(np.asarray, params["params"])
    kernel, bias, recurrent = params["Dense_0"]["kernel"], params["Dense_0"]["bias"], params["recurrent"]
    size, found = len(recurrent), []
    for row, mask in enumerate(np.asarray(x["mask"])):
        state, memory, seen = np.zeros(size), np.zeros(size), []
        for step in np.flatnonzero(mask):
            now = params["Embed_0"]["embedding"][x["ids"][row, step]] if "ids" in x else np.asarray(x["values"][row, step])
            given = np.split(now @ kernel + bias, len(bias) // size)
            before = [state @ part for part in np.split(recurrent, len(given), 1)]
            if cell == "gru":
                reset, update = (sigmoid(given[gate] + before[gate]) for gate in (0, 1))
                candidate = np.tanh(given[2] + reset * (before[2] + params["candidate_bias"][0]))
                state = (1 - update) * candidate + update * state
            else:
                write, keep, candidate, read = (one + other for one, other in zip(given, before, strict=True))
                memory = sigmoid(keep) * memory + sigmoid(write) * np.tanh(candidate)
                state = sigmoid(read) * np.tanh(memory)
            seen.append(state)
        found.append(state if pooling == "last" else np.mean(seen, axis=0))
    return np.stack(found)


@pytest.mark.parametrize("kind", ["values", "ids"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_recurrent_encoder_is_a_loop(x64, cell, pooling, kind):
    x, vocabulary = (sequences(), None) if kind == "values" else (tokens(), 7)
    module = RecurrentEncoder(4, cell, pooling, vocabulary, embedding=3)
    params = normal_params(module, x)
    np.testing.assert_allclose(jax.jit(module.apply)(params, x), naive(params, x, cell, pooling), **EXACT)


@pytest.mark.parametrize("cell", CELLS)
def test_the_cells_are_those_of_flax(x64, cell):
    lengths = jnp.array([5, 3, 1])
    x = {"values": sequences()["values"][:3], "mask": jnp.arange(5)[None] < lengths[:, None]}
    module = RecurrentEncoder(4, cell)
    ours = normal_params(module, x)
    dense, recurrent = ours["params"]["Dense_0"], jnp.split(ours["params"]["recurrent"], 3 if cell == "gru" else 4, axis=1)
    kernels, biases = (jnp.split(dense[name], len(recurrent), axis=-1) for name in ("kernel", "bias"))
    gates = "rzn" if cell == "gru" else "ifgo"
    theirs = {f"i{gate}": {"kernel": kernel} for gate, kernel in zip(gates, kernels, strict=True)}
    theirs |= {f"h{gate}": {"kernel": kernel} for gate, kernel in zip(gates, recurrent, strict=True)}
    for gate, bias in zip(gates, biases, strict=True):
        theirs[f"i{gate}" if cell == "gru" else f"h{gate}"]["bias"] = bias
    if cell == "gru":
        theirs["hn"]["bias"] = ours["params"]["candidate_bias"][0]
    # In float64 their carries have to be told so; ours have the type of the rest.
    one = (linen.GRUCell if cell == "gru" else linen.OptimizedLSTMCell)(4, param_dtype=jnp.float64)
    run = linen.RNN(one, return_carry=True)
    carry, _ = run.apply({"params": {"cell": theirs}}, x["values"], seq_lengths=lengths)
    np.testing.assert_allclose(module.apply(ours, x), carry if cell == "gru" else carry[1], **EXACT)


def test_the_bag_is_the_mean_of_its_real_tokens(x64):
    module = EmbeddingBag(7, 3)
    params = normal_params(module, tokens())
    table = np.asarray(params["params"]["Embed_0"]["embedding"])
    expected = np.stack([table[ids[mask]].mean(axis=0) for ids, mask in zip(IDS, MASK, strict=True)])
    np.testing.assert_allclose(module.apply(params, tokens()), expected, **EXACT)


ENCODERS = {
    **{f"{cell}, {pooling}": (RecurrentEncoder(4, cell, pooling), sequences) for cell in CELLS for pooling in POOLINGS},
    "gru of tokens": (RecurrentEncoder(4, vocabulary=7, embedding=3), tokens),
    "bag": (EmbeddingBag(7, 4), tokens),
}


def value_and_gradients(module, params, x):
    def value(params, floats):
        outputs = module.apply(params, x | floats)
        return jnp.sin(outputs).sum(), outputs

    floats = {"values": x["values"]} if "values" in x else {}
    (_, outputs), gradients = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(params, floats)
    return outputs, gradients


@pytest.mark.parametrize("name", ENCODERS)
def test_padded_steps_never_matter(x64, name):
    module, made = ENCODERS[name]
    params, compute = normal_params(module, made()), jax.jit(functools.partial(value_and_gradients, module))
    expected = compute(params, made())
    for padding in (-1, 10**6, 6) if made is tokens else (1e6, np.nan, np.inf):
        # To the bit: the same numbers stand in the place of all padding.
        chex.assert_trees_all_equal(compute(params, made(padding)), expected)
    if made is sequences:
        of_values = np.asarray(expected[1][1]["values"])
        assert not of_values[~MASK].any()
        assert of_values[MASK].all()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_padded_sequence_is_the_sequence_without_its_padding(x64, name):
    module, made = ENCODERS[name]
    params = normal_params(module, made())
    outputs = jax.jit(module.apply)(params, made())
    for row in (1, 3):
        alone = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1, MASK[row]], made())
        np.testing.assert_allclose(jax.jit(module.apply)(params, alone)[0], outputs[row], **EXACT)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_sequence_without_a_real_step_gives_zeros_and_finite_gradients(name):
    module, made = ENCODERS[name]
    x = made() | {"mask": jnp.zeros(MASK.shape, bool)}
    params = jax.tree.map(jnp.float32, normal_params(module, x))
    outputs, gradients = jax.jit(functools.partial(value_and_gradients, module))(params, x)
    assert not outputs.any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", ENCODERS)
def test_the_precision_is_that_of_parameters_and_inputs(x64, name):
    module, made = ENCODERS[name]
    params = normal_params(module, made())
    exact = module.apply(params, made())
    assert exact.dtype == jnp.float64
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, (params, made()))
    assert module.apply(*single).dtype == jnp.float32
    coarse = jmeta.compute_in(jmeta.from_linen(module), jnp.bfloat16).apply(single[0]["params"], single[1])
    assert coarse.dtype == jnp.float32
    # bfloat16 has 8 bits: 0.4 % of numbers below 2, in five steps of a few sums each.
    np.testing.assert_allclose(coarse, exact, atol=0.1)


def test_order_matters_to_the_recurrent_encoder_and_not_to_the_bag(x64):
    for name, matters in (("gru of tokens", True), ("bag", False)):
        module, made = ENCODERS[name]
        params = normal_params(module, made())
        apply = jax.jit(module.apply)
        one, other = (apply(params, jax.tree.map(lambda leaf, turn=turn: leaf[:, ::turn], made())) for turn in (1, -1))
        assert (np.abs(one - other)[0].max() > 1e-3) == matters, name


def test_gates_start_orthogonal_and_an_lstm_starts_by_keeping():
    for cell, gates in (("gru", 3), ("lstm", 4)):
        params = jax.jit(RecurrentEncoder(8, cell).init)(jax.random.key(0), sequences())["params"]
        for gate in jnp.split(params["recurrent"], gates, axis=1):
            np.testing.assert_allclose(gate.T @ gate, np.eye(8), atol=1e-5)
        expected = np.repeat([0.0, 1.0, 0.0, 0.0], 8) if cell == "lstm" else np.zeros(24)
        np.testing.assert_array_equal(params["Dense_0"]["bias"], expected)
        first, second = jnp.split(params["recurrent"], gates, axis=1)[:2]
        assert np.abs(first - second).max() > 0.1


def classified(made, rows, seed):
    """A task of two classes; sequences of the same lengths in another order."""
    order = np.random.default_rng(seed).permutation(len(MASK))[:rows]
    return Batch(jax.tree.map(lambda leaf: leaf[order], made()), jnp.asarray(order % 2))


@pytest.mark.parametrize("name", ["gru, last", "lstm, mean", "bag"])
def test_the_meta_gradient_of_maml_is_the_central_difference(x64, name):
    module, made = ENCODERS[name]
    model = jmeta.compose(jmeta.from_linen(module), jmeta.from_linen(linen.Dense(2)))
    learner = jmeta.maml(model, optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.5), num_steps=2)
    episode = Episode(classified(made, 4, 0), classified(made, 5, 1), jnp.ones(2, bool))
    params = jax.eval_shape(learner.init, jax.random.key(0), episode)
    random = np.random.default_rng(3)
    params, along = (jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) / 2), params) for _ in range(2))

    @jax.jit
    def both(step):
        moved = jax.tree.map(lambda leaf, way: leaf + step * way, params, along)
        return jax.value_and_grad(lambda params: learner.loss(params, jax.random.key(0), episode)[0])(moved)

    slope = sum(map(jnp.vdot, jax.tree.leaves(both(0.0)[1]), jax.tree.leaves(along)))
    # The difference is off by its step squared, 1e-10, and by 1e-16 / 1e-5.
    np.testing.assert_allclose(slope, (both(1e-5)[0] - both(-1e-5)[0]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_tasks_with_parameters_of_their_own_map(x64, cell):
    module = RecurrentEncoder(4, cell, "mean")
    several = [normal_params(module, sequences(), seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    mapped = jax.jit(jax.vmap(module.apply, (0, None)))(stacked, sequences())
    apply = jax.jit(module.apply)
    np.testing.assert_allclose(mapped, jnp.stack([apply(params, sequences()) for params in several]), **EXACT)


VALUES, REAL = jnp.ones((2, 3, 1)), jnp.ones((2, 3), bool)
OF_VALUES, OF_IDS = RecurrentEncoder(2), RecurrentEncoder(2, vocabulary=5)


@pytest.mark.parametrize(
    ("module", "x", "sentence"),
    [
        (
            OF_VALUES,
            VALUES,
            r"x must be sequences with a mask of their real steps, .* 'values' and 'mask'; got float32\[2, 3",
        ),
        (OF_VALUES, {"values": VALUES}, "a dict of 'values' and 'mask'; got keys values"),
        (OF_IDS, {"values": VALUES, "mask": REAL}, "a dict of 'ids' and 'mask'; got keys mask, values"),
        (EmbeddingBag(5), {"ids": jnp.ones((2, 3), int)}, "a dict of 'ids' and 'mask'; got keys ids"),
        (EmbeddingBag(5), {}, "a dict of 'ids' and 'mask'; got no keys"),
        (
            OF_VALUES,
            {"values": VALUES, "mask": REAL[:, :2]},
            r"a mask of booleans \[n, steps\]; got bool\[2, 2\], float",
        ),
        (OF_VALUES, {"values": VALUES, "mask": REAL.astype(int)}, r"a mask of booleans \[n, steps\]; got int32\[2, 3\]"),
        (OF_VALUES, {"values": VALUES[..., 0], "mask": REAL}, r"values \[n, steps, channels\] of at least one step"),
        (OF_VALUES, {"values": VALUES[:, :0], "mask": REAL[:, :0]}, "of at least one step"),
        (OF_IDS, {"ids": VALUES, "mask": REAL}, r"ids \[n, steps\] of at least one step"),
        (OF_IDS, {"ids": VALUES[..., 0], "mask": REAL}, "whole numbers as ids; got float32"),
    ],
)
def test_anything_else_gets_a_sentence(module, x, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        module.init(jax.random.key(0), x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: RecurrentEncoder(cell="rnn"), "cell must be one of gru, lstm; got 'rnn'"),
        (lambda: RecurrentEncoder(pooling="max"), "pooling must be one of last, mean; got 'max'"),
        (lambda: RecurrentEncoder(0), "features must be a whole number of at least 1; got 0"),
        (lambda: RecurrentEncoder(vocabulary=0), "vocabulary must be a whole number of at least 1; got 0"),
        (lambda: EmbeddingBag(2.5), "vocabulary must be a whole number of at least 1; got 2.5"),
    ],
)
def test_options_are_checked_at_construction(made, sentence):
    with pytest.raises(ValueError, match=sentence):
        made()
