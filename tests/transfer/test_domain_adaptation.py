"""The skeleton of domain adaptation: what it adds up, what it never looks at, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, transfer
from tests.transfer.domains import CROSS_ENTROPY, KEY, data, dense


def nothing(outputs=3, alignment=None):
    return transfer.domain_adaptation(dense(4, jnp.tanh), dense(outputs), CROSS_ENTROPY, alignment or transfer.coral(strength=0.5))


def test_the_objective_is_the_loss_on_the_source_and_the_alignment(x64):
    given, model = data(), nothing()
    params = model.init(KEY, given)
    value, metrics = jax.jit(model.objective)(params, KEY, given)
    features = [np.tanh(given[name].x @ params.encoder) for name in ("source", "target")]
    on_source = CROSS_ENTROPY(features[0] @ params.head, given["source"].y).mean()
    apart = ((np.cov(features[0].T) - np.cov(features[1].T)) ** 2).sum() / 64
    np.testing.assert_allclose(value, on_source + 0.5 * apart, rtol=1e-10)
    np.testing.assert_allclose((metrics["source_loss"], metrics["alignment/distance"]), (on_source, apart), rtol=1e-10)
    np.testing.assert_allclose(model.predict(params, given["target"].x), features[1] @ params.head, rtol=1e-10)
    assert params.alignment == ()


def test_a_shifted_domain_is_learnt_without_its_labels():
    """Half of the target lies beyond the boundary of the source, of which the second input tells."""
    random, labels = np.random.default_rng(0), np.arange(200) % 2
    x = np.stack([2.0 * labels - 1, 0 * labels], axis=1) + 0.3 * random.normal(size=(200, 2))
    shifted = (x + np.array([1.5, 3.0])).astype(np.float32)
    sides = {"source": jmeta.minibatches(x.astype(np.float32), labels, 64), "target": jmeta.minibatches(shifted, None, 64)}
    sampler, optimizer = jmeta.combine(sides), optax.adam(0.01)

    def right(strength):
        model = transfer.domain_adaptation(dense(8), dense(2), CROSS_ENTROPY, transfer.mmd(strength=lambda step: strength))
        params = model.init(KEY, sampler.sample(sampler.data, KEY))
        step, state = jmeta.make_step(model.objective, optimizer), jmeta.init_state(params, optimizer, KEY)

        def train(state, _):
            return step(state, sampler.sample(sampler.data, jax.random.fold_in(KEY, state.step)))

        state, _ = jax.lax.scan(train, state, length=200)
        return (model.predict(state.params, shifted).argmax(axis=1) == labels).mean()

    # Both in one program.
    alone, aligned = jax.jit(jax.vmap(right))(jnp.array([0.0, 1.0]))
    assert alone < 0.7
    assert aligned > 0.95


def refused(match, call):
    with pytest.raises(ValueError, match=match):
        call()


def test_what_makes_no_model_of_two_domains_is_refused():
    given = data()
    refused("alignment must be an Alignment, such as jmeta.transfer.coral.*; got function", lambda: nothing(alignment=lambda: 0))
    refused("encoder must be a Model; got str", lambda: transfer.domain_adaptation("a", dense(3), CROSS_ENTROPY, transfer.coral()))
    refused("head must take what the encoder gives", lambda: broken_head().init(KEY, given))
    refused(
        "head must have an output for each class, of which source.y has 0, ..., 2; got 2",
        lambda: nothing(outputs=2).init(KEY, given),
    )


def broken_head():
    head = dense(3)._replace(apply=lambda params, x, *, key=None, mask=None: x @ jnp.ones((7, 3)))
    return transfer.domain_adaptation(dense(4), head, CROSS_ENTROPY, transfer.coral())


def test_data_that_is_no_pair_of_domains_is_refused():
    given, model = data(), nothing()
    wide = given | {"target": Batch(jnp.ones((5, 3)), None)}
    refused(r"source.x and target.x must have rows of one shape; got \(6, 2\) and \(5, 3\)", lambda: model.init(KEY, wide))
    refused(r'data must be \{"source": Batch.*; got Batch', lambda: model.init(KEY, given["source"]))
    refused(r"data must be .*; got \['source'\]", lambda: model.init(KEY, {"source": given["source"]}))
    refused(r"target must hold at least one example", lambda: model.init(KEY, given | {"target": Batch(jnp.ones((0, 2)), None)}))


def test_no_alignment_is_given_what_the_target_brings_of_labels():
    def loss(params, key, source, target, *, step=0):
        assert source.batch.y is not None
        assert (target.batch.y, target.batch.weights) == (None, None)
        return jnp.zeros(()), {}

    model, given = nothing(alignment=transfer.Alignment(lambda key, features, outputs: (), loss)), data()
    labelled = given | {"target": given["target"]._replace(y=jnp.arange(5), weights=jnp.ones(5))}
    params = model.init(KEY, labelled)
    value, metrics = jax.eval_shape(model.objective, params, KEY, labelled)
    assert (value.shape, metrics.keys()) == ((), {"loss", "source_loss"})
