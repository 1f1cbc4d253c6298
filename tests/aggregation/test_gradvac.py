"""GradVac against the paper's loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta

STEPS, TASKS = 4, 5


def naive(rows, targets, decay):
    """Algorithm 1 of Wang et al. on rows ``[tasks, d]``, the other tasks in their order; moves ``targets``."""
    total = np.zeros(rows.shape[1])
    for task in range(len(rows)):
        surgery = rows[task].copy()
        for other in range(len(rows)):
            if other == task:
                continue
            length, reach = np.linalg.norm(surgery), np.linalg.norm(rows[other])
            cosine, target = surgery @ rows[other] / (length * reach), targets[task, other]
            if cosine < target:
                sines = np.sqrt(1 - cosine**2), np.sqrt(1 - target**2)
                surgery += length * (target * sines[0] - cosine * sines[1]) / (reach * sines[1]) * rows[other]
            targets[task, other] = decay * target + (1 - decay) * cosine
        total += surgery
    return total


def steps(aggregator, rows, state=None, *, present=None):
    """The combined gradients of several steps ``[steps, tasks, d]``, and the last state."""
    count = rows.shape[1]
    present = jnp.ones(rows.shape[:2], bool) if present is None else jnp.asarray(present)

    def step(state, now):
        given = {"losses": jnp.ones(count), "present": now[1], "key": jax.random.fold_in(jax.random.key(0), now[2])}
        return aggregator.combine(now[0], state, **given)[::-1]

    state = aggregator.init(count) if state is None else state
    last, results = jax.jit(lambda *now: jax.lax.scan(step, state, now))(jnp.asarray(rows), present, jnp.arange(len(rows)))
    return results, last


def draw(steps=STEPS, tasks=TASKS):
    """Gradients that lie to one side, so that targets become positive, and conflict with the second task's."""
    rows = np.random.default_rng(0).normal(size=(steps, tasks, 6)) + 1
    rows[:, 1] -= 2 * rows[:, 0]
    return rows


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_it_is_the_paper_s_loop_over_several_steps(x64, decay):
    rows, targets = draw(), np.zeros((TASKS, TASKS))
    expected = np.stack([naive(now, targets, decay) for now in rows])
    assert targets.max() > 0.2
    assert targets.min() < -0.1
    results, last = steps(jmeta.gradvac(decay=decay, shuffle=False), rows)
    np.testing.assert_allclose(results, expected, rtol=1e-9)
    np.testing.assert_allclose(last, targets, rtol=1e-9, atol=1e-12)


def test_the_first_step_is_pcgrad_with_the_same_orders(x64):
    rows = draw(steps=1)
    rows[:, 2] -= 2 * rows[:, 3]
    expected, _ = steps(jmeta.pcgrad(), rows)
    np.testing.assert_allclose(steps(jmeta.gradvac(), rows)[0], expected, rtol=1e-9)
    assert not np.allclose(steps(jmeta.gradvac(shuffle=False), rows)[0], expected, rtol=1e-3)


def test_two_gradients_that_differ_more_than_usual_are_turned_to_their_target(x64):
    """At target c two orthogonal unit gradients become (1, c / sqrt(1 - c^2)) and its mirror image."""
    rows, target = np.eye(2, 6)[None], jnp.array([[0, 0.6], [0.6, 0]])
    results, last = steps(jmeta.gradvac(decay=0.75), rows, target)
    np.testing.assert_allclose(results[0], [1.75, 1.75, 0, 0, 0, 0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(last, [[0, 0.45], [0.45, 0]], rtol=1e-12)


def test_a_target_of_one_adds_no_more_than_a_finite_part(x64):
    results, _ = steps(jmeta.gradvac(), np.eye(2, 6)[None], jnp.ones((2, 2)))
    # 1 + 0.999 / sqrt(1 - 0.999^2)
    np.testing.assert_allclose(results[0, :2], 23.3440, rtol=1e-5)


def test_a_gradient_of_zeros_and_one_that_cancels_move_no_target(x64):
    """The second is opposite to the first, whose surgery leaves only rounding to compare with the third."""
    rows = np.random.default_rng(0).normal(size=(1, 4, 6))
    rows[:, 1] = -3 * rows[:, 0]
    rows[:, 3] = 0
    state = jnp.full((4, 4), 0.25)
    _, last = steps(jmeta.gradvac(shuffle=False), rows, state)
    np.testing.assert_allclose(last[0, 1], (0.25 - 1) / 2, rtol=1e-12)
    still = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(np.asarray(last) == 0.25, still)


def test_wrong_options_and_a_missing_key_are_refused():
    with pytest.raises(ValueError, match=r"decay must be from 0 to 1; got 1\.5"):
        jmeta.gradvac(decay=1.5)
    with pytest.raises(ValueError, match=r"key must be given to gradvac\(shuffle=True\); got None"):
        jmeta.gradvac().combine(jnp.ones((2, 3)), jnp.zeros((2, 2)), losses=jnp.ones(2), present=jnp.ones(2, bool), key=None)
