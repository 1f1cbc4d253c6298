"""Copying parameters, and heads in the place of others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta import Batch, EncoderHead, transfer
from tests.transfer.networks import KEY, labelled, layer


def networks(classes):
    return EncoderHead(layer(5), layer(classes))


def initial(classes, seed=0):
    return jmeta.compose(*networks(classes)).init(jax.random.key(seed), labelled().x)


def test_what_matches_is_copied_and_the_report_says_what_and_why():
    source, target = initial(3), initial(7, seed=1)
    params, report = transfer.copy_matching(source, target)
    assert isinstance(params, EncoderHead)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(params.encoder[name], source.encoder[name])
        assert params.head[name] is target.head[name]
        assert params.encoder[name] is not source.encoder[name]
    assert report.copied == ("encoder/bias", "encoder/kernel")
    assert report.skipped == {
        "head/bias": "the source has float32[3], the target float32[7]",
        "head/kernel": "the source has float32[5, 3], the target float32[5, 7]",
    }
    assert report.unused == ("head/bias", "head/kernel")


def test_trees_of_other_kinds_and_names_match_by_path():
    source = {"backbone": initial(3).encoder, "numbers": jnp.arange(3)}
    target = {"encoder": initial(3, seed=1).encoder, "numbers": jnp.zeros(3), "new": jnp.zeros(1, jnp.bfloat16)}
    params, report = transfer.copy_matching(source, target, rename=lambda path: path.replace("backbone", "encoder"))
    np.testing.assert_array_equal(params["encoder"]["kernel"], source["backbone"]["kernel"])
    assert report.skipped["numbers"] == "the source has int32[3], the target float32[3]"
    assert report.skipped["new"] == "the source has no such path"
    assert report.unused == ("numbers",)


def test_leaves_take_the_type_of_the_target():
    params, _ = transfer.copy_matching({"a": np.ones(2)}, {"a": jnp.zeros(2, jnp.bfloat16)})
    assert params["a"].dtype == jnp.bfloat16
    assert params["a"].tolist() == [1.0, 1.0]


def test_nothing_that_matches_is_refused():
    with pytest.raises(ValueError, match=r"source must hold a leaf of the path and shape .* got none: a against b"):
        transfer.copy_matching({"a": jnp.ones(2)}, {"b": jnp.ones(2)})
    with pytest.raises(ValueError, match="rename must give each leaf a path of its own; got x for a and b"):
        transfer.copy_matching({"a": jnp.ones(2), "b": jnp.ones(2)}, {"x": jnp.ones(2)}, rename=lambda path: "x")


def test_a_new_head_stands_on_the_same_encoder():
    pretrained, data = initial(3), labelled(7)
    params = transfer.replace_head(networks(7), pretrained, KEY, data)
    assert params.encoder is pretrained.encoder
    features = jnp.zeros((8, 5))
    np.testing.assert_array_equal(params.head["kernel"], layer(7).init(KEY, features)["kernel"])
    assert jmeta.compose(*networks(7)).apply(params, data.x).shape == (8, 7)


def test_a_head_of_the_wrong_size_is_refused():
    pretrained = initial(3)
    with pytest.raises(ValueError, match=r"head must have an output for each class, of which batch.y has 0, ..., 6; got 6"):
        transfer.replace_head(networks(6), pretrained, KEY, labelled(7))
    # What does not count may hold anything.
    hidden = labelled(5)._replace(y=jnp.full(8, 9), weights=jnp.zeros(8))
    transfer.replace_head(networks(5), pretrained, KEY, hidden)

    def fixed(params, x, *, key=None, mask=None):
        return x @ params

    narrow = EncoderHead(layer(5), jmeta.Model(lambda key, x: jnp.ones((4, 2)), fixed))
    with pytest.raises(ValueError, match=r"head must take what the encoder gives, float32\[8, 5\]; got an error"):
        transfer.replace_head(narrow, pretrained, KEY, labelled(2))
    with pytest.raises(ValueError, match=r"params must be an EncoderHead\(encoder, head\) of parameters; got dict"):
        transfer.replace_head(networks(2), {}, KEY, labelled(2))
    with pytest.raises(ValueError, match=r"model must be an EncoderHead"):
        transfer.replace_head(layer(2), pretrained, KEY, Batch(jnp.ones((1, 4)), None))
