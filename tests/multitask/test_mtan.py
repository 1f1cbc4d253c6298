"""Soft attention masks on the stages of one encoder."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from tests.multitask.models import KEY, TASKS, halving, initial, layer, outputs, rows


def dense(params, x):
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def test_outputs_are_those_of_the_equations(x64):
    model, x = jmeta.multi_task_attention_network([layer(4), layer(5)], TASKS, width=3), rows(3)
    params = initial(model, x)
    first = np.tanh(x @ params.encoder[0])
    second = np.tanh(first @ params.encoder[1])
    expected = {}
    for name, (own, head) in params.head.items():
        selected = None
        for given, (mask, onward) in zip((first, second), own, strict=True):
            seen = given if selected is None else np.concatenate([given, selected], axis=-1)
            attention = jax.nn.sigmoid(dense(mask["layers_2"], np.maximum(dense(mask["layers_0"], seen), 0)))
            selected = np.maximum(dense(onward["layers_0"], attention * given), 0)
        expected[name] = selected @ head
    chex.assert_trees_all_close(outputs(model, params, x), expected, rtol=1e-10)


def test_a_task_without_masks_sees_what_all_share(x64):
    """Masks of one and an onward convolution that does nothing leave the features of the encoder, where these are positive."""
    stages, x = [halving(4), halving(4)], rows(8, 8, 3)
    positive = [stage._replace(apply=lambda params, x, stage=stage, **rest: jnp.exp(stage.apply(params, x))) for stage in stages]
    model = jmeta.multi_task_attention_network(positive, TASKS)
    params = initial(model, x)

    def neutral(own):
        mask, onward = own.mask, own.onward
        # A sigmoid of 40 is 1 - 4e-18.
        mask = mask | {"layers_2": {"kernel": 0 * mask["layers_2"]["kernel"], "bias": 40 + mask["layers_2"]["bias"]}}
        middle = jnp.zeros_like(onward["layers_0"]["kernel"]).at[1, 1].set(jnp.eye(4))
        return own._replace(mask=mask, onward={"layers_0": {"kernel": middle, "bias": onward["layers_0"]["bias"]}})

    own = {name: part._replace(encoder=[neutral(one) for one in part.encoder]) for name, part in params.head.items()}
    hard = jmeta.hard_parameter_sharing(jmeta.chain(positive), TASKS)
    shared = jmeta.EncoderHead(params.encoder, {name: part._replace(encoder=()) for name, part in params.head.items()})
    found = outputs(model, params._replace(head=own), x)
    chex.assert_trees_all_close(found, outputs(hard, shared, x), rtol=1e-10)


@pytest.mark.parametrize("sizes", [(8, 4), (4, 8), (6, 4), (5, 2)])
def test_features_below_are_brought_to_the_size_of_a_stage(x64, sizes):
    below, size = sizes

    def resized(size):
        dense = layer(2)
        return jmeta.Model(
            dense.init,
            lambda params, x, *, key=None, mask=None: dense.apply(params, jnp.resize(x, (len(x), size, size, x.shape[-1]))),
        )

    model, x = jmeta.multi_task_attention_network([resized(below), resized(size)], TASKS), rows(4, 4, 3)
    assert outputs(model, initial(model, x), x)["pose"].shape == (6, size, size, 2)


def test_the_mean_over_a_window_is_what_is_seen_of_features_that_are_larger(x64):
    from jmeta.multitask._mtan import _beside

    found, below = jnp.zeros((1, 2, 2, 1)), jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(_beside(found, below)[0, ..., 1], [[2.5, 4.5], [10.5, 12.5]])
    larger = _beside(jnp.zeros((1, 4, 4, 1)), jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1))
    np.testing.assert_allclose(larger[0, 2, :, 1], [1, 1, 2, 2])


def test_what_has_no_channels_is_refused():
    flat = jmeta.Model(lambda key, x: (), lambda params, x, *, key=None, mask=None: x.sum(axis=(1, 2, 3)))
    with pytest.raises(ValueError, match=r"stages\[1\] must give one array \[n, ..., channels\] of two to five axes"):
        initial(jmeta.multi_task_attention_network([halving(4), flat], TASKS), rows(8, 8, 3))
    with pytest.raises(ValueError, match="width must be a whole number of at least 1; got 0"):
        jmeta.multi_task_attention_network([layer(4)], TASKS, width=0)
    with pytest.raises(ValueError, match=r"stages must be a sequence of Models; got Model"):
        jmeta.multi_task_attention_network(layer(4), TASKS).init(KEY, {})
