"""Nash-MTL against the equations of the bargain, closed forms, and what its state must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from benchmarks.gradients import nash_mtl
from tests.aggregation.hard_cases import CASES, combine_each, distance, rows_of_cases

NASH, UNCUT = jmeta.nash_mtl(), jmeta.nash_mtl(max_norm=None)

SOLVED = [index for index, name in enumerate(CASES) if name != "two opposite"]


def test_two_tasks_share_alike(x64):
    """With an angle between them each gets 1 / (|g| sqrt(1 + cos)), and together they are sqrt(2) long."""
    rows = rows_of_cases(2)[[index for index in SOLVED if CASES[index] != "a zero"]]
    for found, of_case in zip(combine_each(UNCUT, rows), rows, strict=True):
        units = of_case / np.linalg.norm(of_case, axis=1, keepdims=True)
        expected = units.sum(axis=0) / np.sqrt(1 + units[0] @ units[1]) * np.sqrt(np.linalg.norm(of_case @ of_case.T))
        assert distance(found, expected, of_case) < 1e-9


@pytest.mark.parametrize("tasks", [5, 32])
def test_it_is_the_bargain_of_an_exact_solver(x64, tasks):
    rows = rows_of_cases(tasks)[SOLVED]
    for index, found, of_case in zip(SOLVED, combine_each(NASH, rows), rows, strict=True):
        assert distance(found, nash_mtl(of_case), of_case) < 1e-6, CASES[index]


# In float32 8e-6 is added to the diagonal, which counts that much times a share, 10, times another.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
def test_no_task_gains_more_than_the_others_lose(x64, dtype, tolerance):
    """Every gradient of weight a reaches 1 / a along the result; a thousand times as long or not."""
    cases = [CASES.index(name) for name in ("random", "lengths 1 to 1e4", "in conflict")]
    rows = rows_of_cases(5)[cases]
    for found, of_case in zip(combine_each(UNCUT, rows, dtype), rows, strict=True):
        lengths = np.linalg.norm(of_case, axis=1)
        scaled = found / np.sqrt(np.linalg.norm(of_case @ of_case.T))
        shares = np.linalg.lstsq((of_case / lengths[:, None]).T, scaled, rcond=None)[0]
        assert np.linalg.norm(of_case @ scaled / lengths - 1 / shares) < tolerance * np.linalg.norm(1 / shares)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_where_gradients_cancel_the_others_are_left(x64, dtype):
    rows = np.array([[[2.0, 1.0, 0.0], [-4.0, -2.0, 0.0], [0.0, 0.0, 3.0]], [[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]]])
    found, nothing = combine_each(NASH, rows, dtype)
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0], atol=1e-2 if dtype == np.float32 else 1e-6)
    np.testing.assert_allclose(nothing, 0, atol=1e-2 if dtype == np.float32 else 1e-6)


def test_a_long_result_is_cut_and_a_short_one_is_not(x64):
    rows = rows_of_cases(3)[:1]
    assert np.linalg.norm(combine_each(jmeta.nash_mtl(max_norm=0.3), rows)) == pytest.approx(0.3)
    short = 1e-3 * rows
    expected = np.sqrt(3 * np.linalg.norm(short[0] @ short[0].T))
    assert np.linalg.norm(combine_each(NASH, short)) == pytest.approx(expected)


def run(aggregator, rows, present):
    """Combines rows ``[steps, tasks, parameters]`` one step after another."""

    def step(state, given):
        rows, present = given
        gradient, state = aggregator.combine(rows, state, losses=jnp.ones(len(rows)), present=present, key=None)
        return state, (gradient, state)

    return jax.jit(lambda *given: jax.lax.scan(step, aggregator.init(rows.shape[1]), given)[1])(jnp.asarray(rows), present)


def test_weights_stay_until_they_are_found_anew(x64):
    rows = np.stack([rows_of_cases(3)[0] * scale for scale in (1.0, 2.0, 3.0, 4.0)])
    rows[2] = rows_of_cases(3)[CASES.index("in conflict")]
    _, states = run(jmeta.nash_mtl(update_every=2), rows, jnp.ones((4, 3), bool))
    weights = np.asarray(states.weights)
    np.testing.assert_array_equal(weights[[0, 2]], weights[[1, 3]])
    assert not np.allclose(weights[0], weights[2], rtol=1e-2)
    assert states.steps.tolist() == [1, 2, 3, 4]
    # Twice as long gradients with the weights of before; then cut to 1.
    gradients, _ = run(jmeta.nash_mtl(update_every=2, max_norm=None), rows, jnp.ones((4, 3), bool))
    np.testing.assert_allclose(gradients[1], 2 * gradients[0], rtol=1e-12)


def test_an_absent_task_keeps_its_share_and_counts_for_nothing(x64):
    rows = rows_of_cases(3)[:2].copy()
    rows[1, 1] = 0
    gradients, states = run(jmeta.nash_mtl(), rows, jnp.array([[True, True, True], [True, False, True]]))
    np.testing.assert_array_equal(states.shares[1, 1], states.shares[0, 1])
    np.testing.assert_array_equal(states.weights[1, 1], states.weights[0, 1])
    np.testing.assert_allclose(gradients[1], nash_mtl(rows[1, [0, 2]]), rtol=1e-8)


def test_the_search_starts_from_the_last_solution(x64):
    """Which is why one that has nothing left to do gives the same again."""
    rows = np.stack([rows_of_cases(6)[CASES.index("in conflict")]] * 2)
    _, states = run(jmeta.nash_mtl(), rows, jnp.ones((2, 6), bool))
    np.testing.assert_allclose(states.shares[1], states.shares[0], rtol=1e-12)
    far = jmeta.nash_mtl()
    state = far.init(6)._replace(shares=jnp.logspace(-3, 3, 6))
    found, _ = far.combine(jnp.asarray(rows[0]), state, losses=jnp.ones(6), present=jnp.ones(6, bool), key=None)
    assert distance(found, nash_mtl(rows[0]), rows[0]) < 1e-8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"update_every": 0}, "update_every must be a whole number of at least 1; got 0"),
        ({"max_norm": 0.0}, "max_norm must be positive; got 0"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.nash_mtl(**options)
