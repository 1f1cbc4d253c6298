"""Small problems on the Gramian of task gradients, solved inside jit: quadratic programs by pivots, bargains by Newton steps.

Both see the gradients as unit vectors, so that one that is a thousand times as long costs no digits. Loops are bounded, and end
early where nothing is left to do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve


class Directions(NamedTuple):
    """Attributes: ``cosines [tasks, tasks]`` with a diagonal of ones, ``lengths [tasks]``, and ``inverse [tasks]`` lengths.

    A gradient of zeros, such as that of an absent task, is at right angles to all others, and its inverse length is 0.
    """

    cosines: jax.Array
    lengths: jax.Array
    inverse: jax.Array


class _Path(NamedTuple):
    """A point of a path: z for a variable inside, the derivative of the objective for one that is 0; both are ``slack [tasks]``.

    The tableau ``[tasks, tasks + 1]`` solves for the variables inside; its last column is how they, and what is left of the linear
    terms of the others, change with time.
    """

    tableau: jax.Array
    inside: jax.Array
    slack: jax.Array
    time: jax.Array
    square: jax.Array
    done: jax.Array
    pivots: jax.Array


def directions(gramian: jax.Array) -> Directions:
    """Takes a Gramian ``[tasks, tasks]`` apart into angles and lengths."""
    lengths = jnp.sqrt(jnp.diagonal(gramian))
    inverse = jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1), 0)
    cosines = inverse[:, None] * gramian * inverse[None]
    return Directions(jnp.fill_diagonal(cosines, 1.0, inplace=False), lengths, inverse)


def non_negative(cosines: jax.Array, target: jax.Array) -> jax.Array:
    r"""Solves :math:`\min_{z \ge 0} z^T C z / 2 - q^T z` for ``cosines [tasks, tasks]`` and ``target [tasks]``, q.

    The problem must have a minimum, as it has where q are products of the directions with some vector.
    """
    # Any positive slopes will do; they differ so that of two tasks that are alike one comes first.
    slope = 1 + (jnp.arange(len(target)) * 0.618034 % 1).astype(target.dtype) / 64
    return follow(cosines, target, slope, end=jnp.zeros((), target.dtype))


def follow(cosines: jax.Array, offset: jax.Array, slope: jax.Array, *, end: jax.Array, radius: float | None = None) -> jax.Array:
    r"""Follows the minimum over z >= 0 of :math:`z^T C z / 2 - (q + t p)^T z` with growing t, from where it leaves 0.

    The path is straight but where a variable leaves 0 or falls to it; so it is followed exactly, with about one pivot per variable
    that ends up positive (Cottle, Pang and Stone, 1992, The Linear Complementarity Problem, section 4.5).

    Args:
      cosines: C ``[tasks, tasks]``, positive semi-definite with ones on the diagonal.
      offset: q ``[tasks]``.
      slope: p ``[tasks]``, not negative; a variable of slope 0 stays at 0.
      end: the last t, finite.
      radius: the length :math:`\sqrt{z^T C z}` at which the path ends, if it gets there before; None has no such end.

    Returns:
      z ``[tasks]`` at the end.
    """
    size, dtype = len(offset), offset.dtype
    precision = jnp.finfo(dtype).eps
    usable = slope > 0
    start = jnp.minimum(jnp.where(usable, -offset / jnp.where(usable, slope, 1), end).min(), end)
    # What is added to the diagonal is the pivot by which two dependent gradients change places: the smaller, the less exact after.
    tableau = jnp.concatenate([cosines + precision ** (2 / 3) * jnp.eye(size, dtype=dtype), slope[:, None]], axis=1)
    slack = jnp.where(usable, jnp.maximum(-offset - start * slope, 0), 1)
    zero = jnp.zeros((), dtype)
    first = _Path(tableau, jnp.zeros(size, bool), slack, start, zero, start >= end, jnp.zeros((), int))

    def unfinished(path: _Path) -> jax.Array:
        return ~path.done & (path.pivots < 4 * size + 8)

    def advance(path: _Path) -> _Path:
        rates = jnp.where(path.inside, path.tableau[:, -1], -path.tableau[:, -1])
        falling = rates < -precision
        waits = jnp.where(falling, path.slack / jnp.where(falling, -rates, 1), jnp.inf)
        chosen = jnp.argmin(waits)
        inward = jnp.where(path.inside, slope, 0)
        along, curvature = path.slack @ inward, jnp.maximum(rates @ inward, 0)
        rest = end - path.time
        if radius is not None:
            rest = jnp.minimum(rest, _until(jnp.maximum(radius**2 - path.square, 0), along, curvature))
        done = rest <= waits[chosen]
        step = jnp.minimum(rest, waits[chosen])
        turns = (jnp.arange(size) == chosen) & ~done
        return _Path(
            jnp.where(done, path.tableau, _pivot(path.tableau, chosen)),
            path.inside ^ turns,
            jnp.where(turns, 0, jnp.maximum(path.slack + step * rates, 0)),
            path.time + step,
            path.square + step * (2 * along + step * curvature),
            done,
            path.pivots + 1,
        )

    last = jax.lax.while_loop(unfinished, advance, first)
    # Off the path by rounding, and by what was added to the diagonal: the tableau's inverse takes most of both away.
    solve = jnp.where(last.inside[:, None] & last.inside[None], last.tableau[:, :-1], 0)
    variables = jnp.where(last.inside, last.slack, 0)
    for _ in range(2):
        variables += solve @ (offset + last.time * slope - cosines @ variables)
    return jnp.maximum(variables, 0)


def _until(missing: jax.Array, along: jax.Array, curvature: jax.Array) -> jax.Array:
    """Solves ``2 along x + curvature x^2 = missing`` for x, where none of the three is negative; infinite where x has no effect."""
    slowness = along + jnp.sqrt(along**2 + curvature * missing)
    return jnp.where(slowness > 0, missing / jnp.where(slowness > 0, slowness, 1), jnp.inf)


def _pivot(tableau: jax.Array, chosen: jax.Array) -> jax.Array:
    """Exchanges a variable and its linear term in the equations that a tableau stands for; doing it again undoes it."""
    rows, columns = (jnp.arange(length) == chosen for length in tableau.shape)
    row, column, pivot = tableau[chosen], tableau[:, chosen], tableau[chosen, chosen]
    others = jnp.where(columns[None], 0, tableau) - column[:, None] * jnp.where(columns, 1, row)[None] / pivot
    return jnp.where(rows[:, None], (jnp.where(columns, 1, row) / pivot)[None], others)


def bargain(cosines: jax.Array, demands: jax.Array, start: jax.Array, *, exponent: float) -> jax.Array:
    r"""Solves :math:`C b = d\, b^{-p}` for positive b: the minimum of a convex function, by damped Newton steps.

    Where directions cancel there is no solution: their b grow without end. What is added to the diagonal, as much as rounding may
    take away, then limits them, and what they combine to is near 0 all the same.

    Args:
      cosines: C ``[tasks, tasks]``, positive semi-definite with ones on the diagonal.
      demands: d ``[tasks]``, positive.
      start: b ``[tasks]``, positive, at which to start.
      exponent: p, positive.

    Returns:
      b ``[tasks]``.
    """
    precision = jnp.finfo(cosines.dtype).eps
    convex = cosines + 64 * precision * jnp.eye(len(demands), dtype=cosines.dtype)

    def improve(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        shares, _, steps = state
        # In relative changes the matrix is at least as positive as its diagonal, whatever the shares.
        pulls, products = demands * shares ** (1 - exponent), shares[:, None] * convex * shares[None]
        change = cho_solve(cho_factor(products + exponent * jnp.diag(pulls)), pulls - products.sum(axis=1))
        largest = jnp.abs(change).max()
        # No share falls to 0, none more than doubles, and the function falls by half of what a Newton step promises at least.
        return shares * (1 + change / (1 + max(1.0, (1 + exponent) / 2) * largest)), largest, steps + 1

    def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        # The last step has squared its error.
        return (state[1] > jnp.sqrt(precision)) & (state[2] < 128)

    return jax.lax.while_loop(unfinished, improve, (start, jnp.ones((), cosines.dtype), jnp.zeros((), int)))[0]
