"""Mixtures of experts: common ones, own ones, and levels of both."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from tests.multitask.models import TASKS, THREE, halving, initial, layer, outputs, rows


def softmax(logits):
    return np.asarray(jax.nn.softmax(jnp.asarray(logits)))


def mixture(gate, x, experts):
    weights = softmax(np.asarray(x) @ gate)
    return sum(weights[:, at, None] * expert for at, expert in enumerate(experts))


def says(experts, x):
    return [np.tanh(x @ weights) for weights in experts]


def test_mmoe_mixes_common_experts_by_gates_of_the_tasks(x64):
    model, x = jmeta.multi_gate_mixture_of_experts(layer(4), THREE, num_experts=3), rows(3)
    params = initial(model, x)
    expected = {name: mixture(own.encoder, x, says(params.encoder, x)) @ own.head for name, own in params.head.items()}
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-10)


def test_mmoe_with_one_expert_is_hard_sharing(x64):
    model, x = jmeta.multi_gate_mixture_of_experts(layer(4), THREE, num_experts=1), rows(3)
    params = initial(model, x)
    shared = jmeta.EncoderHead(params.encoder[0], {name: own._replace(encoder=()) for name, own in params.head.items()})
    hard = jmeta.hard_parameter_sharing(layer(4), THREE)
    chex.assert_trees_all_close(outputs(model, params, x), outputs(hard, shared, x), rtol=1e-10)


def test_cgc_mixes_common_and_own_experts(x64):
    model, x = jmeta.customized_gate_control(layer(4), THREE, shared=2, own=1), rows(3)
    params = initial(model, x)
    expected = {
        name: mixture(own.gate, x, says([*params.encoder, *own.experts], x)) @ head for name, (own, head) in params.head.items()
    }
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-10)


def test_cgc_with_one_expert_of_each_task_and_none_in_common_is_independent(x64):
    model, x = jmeta.customized_gate_control(layer(4), THREE, shared=0, own=1), rows(3)
    params = initial(model, x)
    apart = {name: own._replace(encoder=own.encoder.experts[0]) for name, own in params.head.items()}
    independent = jmeta.independent_networks(layer(4), THREE)
    chex.assert_trees_all_close(outputs(model, params, x), outputs(independent, jmeta.EncoderHead((), apart), x), rtol=1e-10)


def test_one_level_of_ple_is_cgc(x64):
    x, ple = rows(3), jmeta.progressive_layered_extraction([layer(4)], THREE, shared=2, own=1)
    params = initial(ple, x)
    assert not params.encoder[0]
    shared = jmeta.EncoderHead(params.encoder[1], {name: own._replace(encoder=own.encoder[1]) for name, own in params.head.items()})
    cgc = jmeta.customized_gate_control(layer(4), THREE, shared=2, own=1)
    chex.assert_trees_all_close(outputs(ple, params, x), outputs(cgc, shared, x), rtol=1e-10)


@pytest.mark.parametrize("depth", [2, 3])
def test_ple_is_a_loop_over_levels_with_a_common_stream(x64, depth):
    model, x = jmeta.progressive_layered_extraction([layer(4), layer(3), layer(5)][:depth], TASKS, shared=2, own=1), rows(6)
    params = initial(model, x)
    (lower, top), names = params.encoder, model.names
    streams, common = dict.fromkeys(names, x), x
    for level in range(depth):
        last = level == depth - 1
        shared = says(top if last else lower[level].common.experts, common)
        own = {name: params.head[name].encoder[1] if last else lower[level].own[name] for name in names}
        of_tasks = {name: says(own[name].experts, streams[name]) for name in names}
        gates = {name: params.head[name].encoder[0] if level == depth - 2 else own[name].gate for name in names}
        if not last:
            everything = [*shared, *(part for name in names for part in of_tasks[name])]
            common_next = mixture(lower[level].common.gate, common, everything)
        streams = {name: mixture(gates[name], streams[name], [*shared, *of_tasks[name]]) for name in names}
        common = None if last else common_next
    expected = {name: streams[name] @ params.head[name].head for name in names}
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-10)


def test_experts_may_be_convolutional_and_gates_one_s_own(x64):
    def gate(experts):
        return jmeta.Model(
            lambda key, x: jax.random.normal(key, (x.shape[-1], experts)),
            lambda params, x, *, key=None, mask=None: x.mean(axis=(1, 2)) @ params,
        )

    model, x = jmeta.multi_gate_mixture_of_experts(halving(4), TASKS, num_experts=2, gate=gate), rows(4, 4, 3)
    params = initial(model, x)
    weights = softmax(np.asarray(x).mean(axis=(1, 2)) @ params.head["pose"].encoder)[:, :, None, None, None]
    first, second = (np.tanh(x[:, ::2, ::2] @ expert) for expert in params.encoder)
    expected = (weights[:, 0] * first + weights[:, 1] * second) @ params.head["pose"].head
    np.testing.assert_allclose(outputs(model, params, x)["pose"], expected, rtol=1e-10)


def test_what_makes_no_mixture_is_refused():
    with pytest.raises(ValueError, match="num_experts must be a whole number of at least 1; got 0"):
        jmeta.multi_gate_mixture_of_experts(layer(4), TASKS, num_experts=0)
    with pytest.raises(ValueError, match="shared and own must leave each task at least one expert; got 0 of both"):
        jmeta.customized_gate_control(layer(4), TASKS, shared=0, own=0)
    with pytest.raises(ValueError, match="levels must hold at least one Model; got an empty sequence"):
        jmeta.progressive_layered_extraction([], TASKS)
    with pytest.raises(ValueError, match=r"levels\[1\] must take what levels\[0\] gives, float32\[6, 4\]; got an error"):
        initial(jmeta.progressive_layered_extraction([layer(4), halving(2)], TASKS), rows(3))
    wrong = jmeta.multi_gate_mixture_of_experts(layer(4), TASKS, num_experts=2, gate=lambda experts: layer(3))
    with pytest.raises(ValueError, match=r"gate must give logits \[n, experts\], \(6, 2\); got \(6, 3\)"):
        initial(wrong, rows(3))
