"""Distances between all pairs of two sets of vectors."""

import jax
import jax.numpy as jnp

# Differences that are formed at once: not every compiler fuses them into their sum (jax 0.7.2 on a CPU keeps all).
AT_ONCE = 2**22


@jax.custom_jvp
def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes ``|x_i - y_j|^2``, ``[n, m]``, from ``x [n, d]`` and ``y [m, d]``.

    The values are sums of squared differences, exact where two vectors are close; the derivatives, of any order and in either
    mode, are matrix products, so that nothing of size ``n m d`` is kept.
    """
    rows = max(AT_ONCE // max(y.size, 1), 1)

    def from_row(row: jax.Array) -> jax.Array:
        return jnp.square(row[None] - y).sum(axis=-1)

    return jax.vmap(from_row)(x) if len(x) <= rows else jax.lax.map(from_row, x, batch_size=rows)


@squared_distances.defjvp
def _squared_distances_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x, y), (dx, dy) = primals, tangents
    # 2 (x - y) (dx - dy), multiplied out; distances stay if both sets move, so what all vectors have in common is taken away first
    # and does not cancel.
    centre = jax.lax.stop_gradient(y.mean(axis=0))[None]
    near, far = x - centre, y - centre
    own = (near * dx).sum(axis=-1)[:, None] + (far * dy).sum(axis=-1)[None]
    return squared_distances(x, y), 2 * (own - _products(near, dy) - _products(dx, far))


def _products(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.matmul(one, other.T, precision="highest")
