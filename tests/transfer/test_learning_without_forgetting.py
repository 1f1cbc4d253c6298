"""A new head, and old ones that keep to what they said."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import EncoderHead, testing, transfer
from jmeta.transfer import Taught
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
ENCODER, OLD = layer(5, jnp.tanh), {"letters": layer(2), "digits": layer(4)}
MODEL = transfer.branch(ENCODER, OLD | {"birds": layer(3)})


def started():
    """Old parameters, those with the new head, and the batch with what the old heads say of it, moved away from what they say."""
    data, old = labelled(), transfer.branch(ENCODER, OLD)
    params = old.init(jax.random.key(2), data.x)
    start, _ = transfer.copy_matching(params, MODEL.init(KEY, data.x))
    return params, start, transfer.teach(old, params, data)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_it_is_the_loss_of_the_new_head_and_a_divergence_for_each_old_one(x64):
    _, start, data = started()
    data = data._replace(weights=jnp.arange(8.0))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.cos(leaf + 1), start)
    objective = transfer.learning_without_forgetting(MODEL, "birds", CROSS_ENTROPY, temperature=2.0, strength=0.7)
    value, metrics = jax.jit(objective)(params, KEY, data)
    outputs = jax.tree.map(np.asarray, MODEL.apply(params, data.x))
    expected = np.average(-log_softmax(outputs["birds"])[np.arange(8), data.y.labels], weights=data.weights)
    np.testing.assert_allclose(metrics["task_loss"], expected, rtol=1e-10)
    for name in OLD:
        before, now = (log_softmax(np.asarray(part) / 2) for part in (data.y.logits[name], outputs[name]))
        divergence = (np.exp(before) * (before - now)).sum(axis=1).mean()
        np.testing.assert_allclose(metrics[f"{name}/imitation"], divergence, rtol=1e-10)
        expected += 0.7 * divergence
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(metrics["loss"], value)
    testing.check_gradient(objective, params, KEY, data, tolerance=1e-7)


def test_unlabelled_examples_are_imitated_and_the_model_is_in_training_mode():
    seen = []

    def apply(params, x, *, key=None, mask=None):
        seen.append((key, mask))
        return MODEL.apply(params, x)

    _, start, data = started()
    params, mask = jax.tree.map(lambda leaf: leaf + 0.1, start), jnp.ones(8, bool)
    objective = transfer.learning_without_forgetting(MODEL._replace(apply=apply), "birds", CROSS_ENTROPY, strength=2.0)
    value, metrics = objective(params, KEY, data._replace(mask=mask, weights=jnp.zeros(8)))
    assert seen == [(KEY, mask)]
    assert metrics["present"]
    np.testing.assert_allclose(value, 2 * (metrics["digits/imitation"] + metrics["letters/imitation"]), rtol=1e-6)
    assert metrics["task_loss"] == 0 < value


def test_at_the_start_nothing_is_forgotten_and_old_heads_rest(x64):
    _, start, data = started()
    objective = transfer.learning_without_forgetting(MODEL, "birds", CROSS_ENTROPY)
    (value, metrics), slope = jax.jit(jax.value_and_grad(objective, has_aux=True))(start, KEY, data)
    np.testing.assert_allclose(value, metrics["task_loss"], rtol=1e-12)
    for name in OLD:
        assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(slope.head[name])) < 1e-14
    plain = jmeta.on_head(transfer.supervised(jmeta.compose(ENCODER, layer(3)), CROSS_ENTROPY), "birds")
    expected = jax.jit(jax.grad(lambda params: plain(params, KEY, labelled())[0]))(start)
    chex.assert_trees_all_close(slope.encoder, expected.encoder, rtol=1e-10, atol=1e-14)


def test_old_heads_change_less_than_in_fine_tuning():
    old, start, data = started()
    moved = {}
    for strength in (1e-9, 4.0):
        objective = transfer.learning_without_forgetting(MODEL, "birds", CROSS_ENTROPY, strength=strength)
        optimizer = optax.sgd(0.3)
        step, state = jax.jit(jmeta.make_step(objective, optimizer)), jmeta.init_state(start, optimizer, KEY)
        for _ in range(60):
            state, metrics = step(state, data)
        moved[strength] = metrics["digits/imitation"] + metrics["letters/imitation"]
        assert metrics["task_loss"] < 0.8
    assert moved[4.0] < 0.25 * moved[1e-9]
    live = transfer.taught_by(objective, transfer.branch(ENCODER, OLD), old)
    value, (metrics, _) = jax.jit(live.loss)(state.params, KEY, labelled(), live.init(state.params, KEY))
    np.testing.assert_allclose(value, jax.jit(objective)(state.params, KEY, data)[0], rtol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="model must be a Model; got EncoderHead"):
        transfer.learning_without_forgetting(EncoderHead(ENCODER, OLD), "birds", CROSS_ENTROPY)
    for name in ("temperature", "strength"):
        with pytest.raises(ValueError, match=f"{name} must be positive; got 0"):
            transfer.learning_without_forgetting(MODEL, "birds", CROSS_ENTROPY, **{name: 0})
    _, start, data = started()
    objective = transfer.learning_without_forgetting(MODEL, "birds", CROSS_ENTROPY)
    with pytest.raises(ValueError, match=r"y must be Taught\(labels, logits\)"):
        objective(start, KEY, labelled())
    sentence = r"y.logits must hold what each old head said, by name, \['digits', 'letters'\]; got \['digits'\]"
    with pytest.raises(ValueError, match=sentence):
        objective(start, KEY, data._replace(y=Taught(data.y.labels, {"digits": data.y.logits["digits"]})))
    with pytest.raises(ValueError, match=r"y.logits must hold what each old head said, .*; got ndarray"):
        objective(start, KEY, data._replace(y=Taught(data.y.labels, data.y.logits["digits"])))
    swapped = {"digits": data.y.logits["letters"], "letters": data.y.logits["digits"]}
    with pytest.raises(ValueError, match=r"the teacher must give what head 'digits' gives, float32\[8, 4\]; got float32\[8, 2\]"):
        objective(start, KEY, data._replace(y=Taught(data.y.labels, swapped)))
    sentence = r"model must give outputs by name, of 'fish' and of old tasks; got \['birds', 'digits', 'letters'\]"
    with pytest.raises(ValueError, match=sentence):
        transfer.learning_without_forgetting(MODEL, "fish", CROSS_ENTROPY)(start, KEY, data)
    with pytest.raises(ValueError, match=r"model must give outputs by name, of 'birds' and of old tasks; got .*Array"):
        transfer.learning_without_forgetting(layer(3), "birds", CROSS_ENTROPY)(layer(3).init(KEY, data.x), KEY, data)


# --- several heads ----------------------------------------------------------------------------------------------------------------


def test_branches_are_the_compositions_with_each_head(x64):
    x = rows(4)
    params = MODEL.init(KEY, x)
    outputs = jax.jit(MODEL.apply)(params, x)
    assert {name: found.shape for name, found in outputs.items()} == {"birds": (8, 3), "digits": (8, 4), "letters": (8, 2)}
    for name, head in {**OLD, "birds": layer(3)}.items():
        alone = jmeta.compose(ENCODER, head).apply(EncoderHead(params.encoder, params.head[name]), x)
        np.testing.assert_allclose(outputs[name], alone, rtol=1e-12)
    other = MODEL.init(jax.random.key(1), x)
    assert not any(np.array_equal(one, two) for one, two in zip(*map(kernels, (params, other)), strict=True))
    assert len({kernel.tobytes() for kernel in kernels(transfer.branch(ENCODER, {"a": layer(3), "b": layer(3)}).init(KEY, x))}) == 3


def kernels(params):
    return [np.asarray(part["kernel"]) for part in [params.encoder, *params.head.values()]]


def test_each_part_has_a_key_of_its_own_and_the_mask():
    seen = []

    def part(width):
        plain = layer(width)

        def apply(params, x, *, key=None, mask=None):
            seen.append((None if key is None else jax.random.key_data(key).tolist(), mask))
            return plain.apply(params, x)

        return plain._replace(apply=apply)

    model, x, mask = transfer.branch(part(5), {"a": part(2), "b": part(2)}), rows(4), jnp.ones(8, bool)
    params = model.init(KEY, x)
    seen.clear()
    model.apply(params, x, key=KEY, mask=mask)
    assert len({tuple(key) for key, _ in seen}) == 3
    assert all(given is mask for _, given in seen)
    seen.clear()
    model.apply(params, x)
    assert seen == [(None, None)] * 3


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads must name at least one head; got an empty mapping"):
        transfer.branch(ENCODER, {})
    with pytest.raises(ValueError, match="encoder must be a Model; got NoneType"):
        transfer.branch(None, OLD)
    with pytest.raises(ValueError, match=r"heads\['a'\] must be a Model; got int"):
        transfer.branch(ENCODER, {"a": 3})
    picky = jmeta.Model(lambda key, x: x.reshape(8, 2, 2), layer(2).apply)
    with pytest.raises(ValueError, match=r"heads\['a'\] must take what the encoder gives, float32\[8, 5\]; got an error"):
        transfer.branch(ENCODER, {"a": picky}).init(KEY, rows(4))
