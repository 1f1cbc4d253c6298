"""MGDA against the conditions of the shortest vector in a hull, which no other vector meets, and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from benchmarks.gradients import nearest_to_zero
from tests.aggregation.hard_cases import combine_each, distance, rows_of_cases

MGDA = jmeta.mgda()


def by_hand(first, second):
    """Of two gradients: the foot of the perpendicular from 0 on the line through them, or the nearer end."""
    between = first - second
    share = 0.5 if not between.any() else np.clip(between @ first / (between @ between), 0, 1)
    return (1 - share) * first + share * second


def test_two_tasks_have_a_closed_form(x64):
    rows = rows_of_cases(2)
    for found, of_case in zip(combine_each(MGDA, rows), rows, strict=True):
        assert distance(found, by_hand(*of_case), of_case) < 1e-9


@pytest.mark.parametrize("tasks", [5, 32])
def test_the_minimum_is_that_of_an_exact_solver(x64, tasks):
    rows = rows_of_cases(tasks)
    for found, of_case in zip(combine_each(MGDA, rows), rows, strict=True):
        assert distance(found, nearest_to_zero(of_case) @ of_case, of_case) < 1e-7


# In float32 a product of two gradients is known to 1e-6 of their lengths.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_no_point_of_the_hull_is_shorter(x64, dtype, tolerance):
    """Every gradient reaches as far along the result as the result itself."""
    rows = rows_of_cases(5)
    for found, of_case in zip(combine_each(MGDA, rows, dtype), rows, strict=True):
        size, lengths = np.linalg.norm(found), np.linalg.norm(of_case, axis=1)
        # A result of 0 is rounding of the longest.
        nothing = size < 8 * np.finfo(dtype).eps * lengths.max()
        assert nothing or (of_case @ found >= size**2 - tolerance * size * lengths).all()


def test_a_gradient_of_zeros_is_a_task_unless_it_is_absent(x64):
    rows = rows_of_cases(3)[[0, 0]] * np.array([1.0, 0.0, 1.0])[:, None]
    with_it, without = combine_each(MGDA, rows, present=np.array([[True, True, True], [True, False, True]]))
    np.testing.assert_allclose(with_it, 0, atol=1e-12)
    np.testing.assert_allclose(without, by_hand(*rows[0, [0, 2]]), rtol=1e-9)


@pytest.mark.parametrize("normalise", ["l2", "loss", "loss+"])
def test_gradients_are_normalised_where_they_are_weighed(x64, normalise):
    rows, losses = rows_of_cases(5)[:1], np.array([[0.5, 2.0, 0.1, 1.0, 0.7]])
    lengths = np.linalg.norm(rows[0], axis=1)
    divisors = {"l2": lengths, "loss": losses[0], "loss+": lengths * losses[0]}[normalise]
    expected = nearest_to_zero(rows[0] / divisors[:, None]) @ rows[0]
    (found,) = combine_each(jmeta.mgda(normalise=normalise), rows, losses=losses)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert not np.allclose(found, combine_each(MGDA, rows)[0], rtol=1e-2)
    (perfect,) = combine_each(
        jmeta.mgda(normalise=normalise), rows * (np.arange(5) > 0)[:, None], losses=losses * (np.arange(5) > 0)
    )
    assert not np.abs(perfect).max() > 1e-12


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"normalise must be one of none, l2, loss, loss\+; got 'length'"):
        jmeta.mgda(normalise="length")


def test_weights_are_those_of_the_shared_gramian_in_any_scale():
    """Gradients of 1e-12 and of 1e12 are weighed alike in float32."""
    rows = rows_of_cases(5)[:1]
    small, large = (combine_each(MGDA, rows * scale, np.float32) / scale for scale in (1e-12, 1e12))
    np.testing.assert_allclose(small, large, rtol=1e-4)
    assert jnp.isfinite(small).all()
