"""Smoothed weights against the recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta import aggregation

PRESENT = np.array([[True, True, False], [True, False, False], [True, True, True], [True, True, True]])


def weights_over_time(aggregator, gramians, present):
    def step(state, now):
        given = {"losses": now[1] * 1.0, "present": now[1], "key": jax.random.key(0)}
        return aggregator.weigh(now[0], state, **given)[::-1]

    return np.asarray(jax.jit(lambda *now: jax.lax.scan(step, aggregator.init(3), now)[1])(gramians, jnp.asarray(present)))


def draw(present):
    rows = np.random.default_rng(0).normal(size=(len(present), 3, 6)) * present[..., None]
    return jnp.asarray(rows @ rows.transpose(0, 2, 1))


def test_weights_are_averaged_over_the_steps_that_a_task_is_present_in(x64):
    """A task's first weight is taken as it is; in the end it is known what was multiplied by what."""
    gramians = draw(PRESENT)
    now = weights_over_time(jmeta.pcgrad(shuffle=False), gramians, PRESENT)
    got = weights_over_time(jmeta.cr_mogm(jmeta.pcgrad(shuffle=False), decay=0.8), gramians, PRESENT)
    first = 0.8**3 * now[0, 0] + 0.2 * (0.8**2 * now[1, 0] + 0.8 * now[2, 0] + now[3, 0])
    second = 0.8**2 * now[0, 1] + 0.2 * (0.8 * now[2, 1] + now[3, 1])
    third = 0.8 * now[2, 2] + 0.2 * now[3, 2]
    assert np.abs(now[3] - [first, second, third]).max() > 0.05
    np.testing.assert_allclose(got[3], [first, second, third], rtol=1e-12)


def test_without_decay_it_is_what_is_smoothed(x64):
    gramians, everybody = draw(PRESENT | True), PRESENT | True
    inner = jmeta.gradvac(shuffle=False)
    expected = weights_over_time(inner, gramians, everybody)
    np.testing.assert_array_equal(weights_over_time(jmeta.cr_mogm(inner, decay=0.0), gramians, everybody), expected)
    frozen = weights_over_time(jmeta.cr_mogm(inner, decay=1.0), gramians, everybody)
    np.testing.assert_array_equal(frozen, np.tile(expected[:1], (4, 1)))


def test_options_of_what_is_smoothed_keep_their_names():
    """Smoothed once more, still a weighting of the Gramian."""
    aggregator = jmeta.cr_mogm(jmeta.cr_mogm(jmeta.aligned_mtl(preference={"b": 2.0})))
    np.testing.assert_array_equal(aggregator.init(["a", "b"]).smoothed.smoothed, [1, 2])


@pytest.mark.parametrize("aggregator", [aggregation.sum(), jmeta.graddrop()])
def test_what_does_not_weigh_by_the_gramian_is_refused(aggregator):
    with pytest.raises(ValueError, match=r"aggregator must weigh by the Gramian, like pcgrad\(\); got one without weigh"):
        jmeta.cr_mogm(aggregator)


def test_a_decay_that_is_no_part_is_refused():
    with pytest.raises(ValueError, match=r"decay must be from 0 to 1; got -0\.1"):
        jmeta.cr_mogm(jmeta.imtl_g(), decay=-0.1)
