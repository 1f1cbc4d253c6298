"""Tasks of numbers and of classes, and networks in the precision of the test."""

import jax
import jax.numpy as jnp

import jmeta

KEY = jax.random.key(0)


def network(*sizes):
    """A tanh network without offsets."""

    def init(key, x):
        widths = (x.shape[-1], *sizes)
        keys = jax.random.split(key, len(sizes))
        return [jax.random.normal(one, shape) for one, shape in zip(keys, zip(widths, sizes, strict=False), strict=True)]

    def apply(params, x, *, key=None, mask=None):
        for kernel in params[:-1]:
            x = jnp.tanh(x @ kernel)
        return x @ params[-1]

    return jmeta.Model(init, apply)


def regression():
    shapes = (5, 2), (5, 1), (4, 2), (4, 1)
    x, y, query_x, query_y = map(jax.random.normal, jax.random.split(KEY, 4), shapes)
    return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(query_x, query_y))


def classification():
    x, query_x = jax.random.normal(KEY, (7, 2)), jax.random.normal(jax.random.key(1), (4, 2))
    labels, asked = jnp.arange(7) % 3, jnp.array([0, 1, 2, 0])
    return jmeta.Episode(jmeta.Batch(x, labels), jmeta.Batch(query_x, asked), jnp.ones(3, bool))
