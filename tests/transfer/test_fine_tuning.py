"""What is frozen, how fast the rest moves, and from when."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import EncoderHead, transfer
from tests.transfer.networks import KEY, labelled, layer

MODEL = jmeta.compose(jmeta.chain([layer(5, jnp.tanh), layer(4, jnp.tanh)]), layer(3))
OBJECTIVE = transfer.supervised(MODEL, optax.softmax_cross_entropy_with_integer_labels)
DATA = labelled()
IS_HEAD = {"path": lambda path: path.startswith("head/"), "prefix": EncoderHead(False, True)}


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def initial():
    """One weight is minus zero, which a sum with zero changes."""
    params = MODEL.init(KEY, DATA.x)
    params.encoder[0]["bias"] = params.encoder[0]["bias"].at[0].set(-0.0)
    return params


def trained(optimizer, steps, *, start=None):
    """The state after each of so many steps, one after another."""
    state, step = jmeta.init_state(initial() if start is None else start, optimizer, KEY), jmeta.make_step(OBJECTIVE, optimizer)

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda state, _: (step(state, DATA)[0],) * 2, state, length=steps)

    return run(state)


@pytest.mark.parametrize("how", IS_HEAD)
def test_frozen_leaves_are_bitwise_the_same_after_100_steps_of_adamw(how):
    optimizer = transfer.trainable(optax.adamw(1e-2, weight_decay=0.1), IS_HEAD[how])
    last, _ = trained(optimizer, 100)
    assert bits(last.params.encoder) == bits(initial().encoder)
    assert not any(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (last.params.head, initial().head)), strict=True))
    # A count, and two moments of the head's kernel and bias.
    assert sorted(leaf.shape for leaf in jax.tree.leaves(last.optimizer_state)) == [(), (3,), (3,), (4, 3), (4, 3)]


def test_what_is_frozen_computes_no_gradient():
    """The compiled step has no product that only the encoder's gradient needs."""
    counts = []
    for optimizer in (optax.adamw(1e-2), transfer.trainable(optax.adamw(1e-2), IS_HEAD["path"])):
        step = jmeta.make_step(OBJECTIVE, optimizer)
        compiled = jax.jit(step).lower(jmeta.init_state(initial(), optimizer, KEY), DATA).compile()
        counts.append(compiled.cost_analysis()["flops"])
    assert counts[1] < 0.6 * counts[0]


def test_a_choice_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="select must choose at least one leaf; got none of encoder/0/bias"):
        transfer.trainable(optax.sgd(1.0), lambda path: "haed" in path).init(initial())
    with pytest.raises(ValueError, match="rates must change the rate of at least one leaf; got 1 for all"):
        transfer.layerwise_rates(optax.sgd(1.0), lambda path: 0.1 if "haed" in path else 1.0).init(initial())
    with pytest.raises(ValueError, match="steps must be above 0 for at least one leaf; got 0 for all, which freezes nothing"):
        transfer.gradual_unfreezing(optax.sgd(1.0), lambda path: 5 if "haed" in path else 0).init(initial())


# --- rates ------------------------------------------------------------------------------------------------------------------------

RATES = {
    "path": lambda path: 2.0 if path.startswith("head") else 0.25 if "/0/" in path else 0.5,
    "prefix": EncoderHead([0.25, 0.5], 2.0),
}


@pytest.mark.parametrize("how", RATES)
def test_rates_are_those_of_an_optimiser_for_each_layer(x64, how):
    optimizers = {name: optax.adamw(1e-2 * rate) for name, rate in (("0", 0.25), ("1", 0.5), ("head", 2.0))}
    labels = EncoderHead(["0", "1"], "head")
    apart, _ = trained(optax.partition(optimizers, lambda _: labels), 5)
    together, _ = trained(transfer.layerwise_rates(optax.adamw(1e-2), RATES[how]), 5)
    chex.assert_trees_all_close(together.params, apart.params, rtol=1e-10)


def test_rates_keep_the_types_of_the_parameters():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    optimizer = transfer.layerwise_rates(optax.sgd(0.1), {"a": np.float32(0.5), "b": 1.0})
    chex.assert_trees_all_equal_dtypes(optimizer.update(params, optimizer.init(params), params)[0], params)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match=r"rates must be above 0; got .*trainable"):
        transfer.layerwise_rates(optax.sgd(1.0), EncoderHead(rate, 1.0)).init(initial())


@pytest.mark.parametrize("wrap", [transfer.layerwise_rates, transfer.gradual_unfreezing])
def test_a_prefix_of_another_tree_is_refused(wrap):
    with pytest.raises(ValueError, match=r"(rates|steps) must be a function of paths or a prefix of the tree"):
        wrap(optax.sgd(1.0), {"encoder": 1}).init(initial())


# --- unfreezing -------------------------------------------------------------------------------------------------------------------

STEPS = {
    "path": lambda path: 0 if path.startswith("head") else 6 if "/0/" in path else 3,
    "prefix": EncoderHead([6, 3], 0),
}


@pytest.mark.parametrize("how", STEPS)
def test_each_layer_begins_at_its_step_as_if_trained_alone(how):
    optimizer = transfer.gradual_unfreezing(optax.adamw(1e-2), STEPS[how])
    _, along = trained(optimizer, 9)
    before = initial()
    for step in range(9):
        now = jax.tree.map(lambda leaf, step=step: leaf[step], along.params)
        moved = [
            bits(part) != bits(old) for part, old in zip([*now.encoder, now.head], [*before.encoder, before.head], strict=True)
        ]
        assert moved == [step >= 6, step >= 3, True]
        before = now


def test_unfreezing_is_one_optimiser_after_another(x64):
    """Stages of :func:`trainable`, each begun when its layer is."""
    unfrozen, _ = trained(transfer.gradual_unfreezing(optax.adam(1e-2), STEPS["prefix"]), 6)
    head, both = EncoderHead(False, True), EncoderHead([False, True], False)
    stage, _ = trained(transfer.trainable(optax.adam(1e-2), head), 3)
    # The head goes on with its moments, the second layer begins.
    old, new = (transfer.trainable(optax.adam(1e-2), select) for select in (head, both))
    params, states = stage.params, [stage.optimizer_state, new.init(stage.params)]
    slope = jax.jit(jax.grad(lambda params: OBJECTIVE(params, KEY, DATA)[0]))
    for _ in range(3):
        gradient, before = slope(params), params
        for at, optimizer in enumerate((old, new)):
            updates, states[at] = optimizer.update(gradient, states[at], before)
            params = optax.apply_updates(params, updates)
    chex.assert_trees_all_close(unfrozen.params, params, rtol=1e-10)


@pytest.mark.parametrize("step", [-1, 0.5, True])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="steps must be a whole number of at least 0"):
        transfer.gradual_unfreezing(optax.sgd(1.0), EncoderHead(step, 0)).init(initial())
