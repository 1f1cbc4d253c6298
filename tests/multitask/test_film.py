"""One encoder whose channels each task scales and shifts."""

import chex
import jax
import numpy as np
import pytest

import jmeta
from tests.multitask.models import TASKS, halving, initial, layer, outputs, rows

STAGES = [halving(4), halving(5)]


def test_it_begins_as_hard_sharing(x64):
    model, x = jmeta.task_conditioned_film(STAGES, TASKS), rows(8, 8, 3)
    params = initial(model, x)
    shared = jmeta.EncoderHead(params.encoder, {name: own._replace(encoder=()) for name, own in params.head.items()})
    hard = jmeta.hard_parameter_sharing(jmeta.chain(STAGES), TASKS)
    chex.assert_trees_all_close(outputs(model, params, x), outputs(hard, shared, x), rtol=1e-12)


def test_channels_are_scaled_and_shifted_after_every_stage(x64):
    model, x = jmeta.task_conditioned_film(STAGES, TASKS), rows(8, 8, 3)
    params = initial(model, x)
    moved = jax.tree.map(lambda leaf: leaf + 0.5 + np.arange(leaf.size), params.head["pose"].encoder)
    params.head["pose"] = params.head["pose"]._replace(encoder=moved)
    seen = np.asarray(x)
    for weights, own in zip(params.encoder, moved, strict=True):
        scale, shift = map(np.asarray, own)
        seen = (1 + scale) * np.tanh(seen[:, ::2, ::2] @ weights) + shift
    np.testing.assert_allclose(outputs(model, params, x)["pose"], seen @ params.head["pose"].head, rtol=1e-10)


def test_what_has_no_channels_is_refused():
    flat = jmeta.Model(lambda key, x: (), lambda params, x, *, key=None, mask=None: x.sum(axis=-1))
    with pytest.raises(ValueError, match=r"stages\[1\] must give one array \[n, ..., channels\], to be modulated; got"):
        initial(jmeta.task_conditioned_film([layer(4), flat], TASKS), rows(3))
    with pytest.raises(ValueError, match=r"stages\[0\] must be a Model; got int"):
        jmeta.task_conditioned_film([3], TASKS)
