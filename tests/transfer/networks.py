"""Small networks and data for tests of transfer, in whatever precision is on."""

import jax
import jax.numpy as jnp

import jmeta

KEY = jax.random.key(0)


def layer(features, activation=lambda x: x):
    def init(key, x):
        return {"bias": jnp.zeros(features), "kernel": jax.random.normal(key, (x.shape[-1], features)) / 2}

    def apply(params, x, *, key=None, mask=None):
        return activation(x @ params["kernel"] + params["bias"].reshape(*[1] * (x.ndim - 1), -1))

    return jmeta.Model(init, apply)


def rows(*shape, count=8, seed=1):
    return jax.random.normal(jax.random.key(seed), (count, *shape))


def labelled(classes=3, *, width=4, count=8, seed=1):
    return jmeta.Batch(rows(width, count=count, seed=seed), jnp.arange(count) % classes)
