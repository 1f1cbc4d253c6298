"""Small parts of multi-task models, in whatever precision is on, and data for them."""

import jax
import jax.numpy as jnp
import optax

import jmeta

KEY = jax.random.key(0)


def layer(features, activation=jnp.tanh):
    """On the last axis of ``[n, ..., channels]``."""
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: activation(x @ params),
    )


def halving(features):
    """On images, of half the size."""
    dense = layer(features)
    return jmeta.Model(
        dense.init,
        lambda params, x, *, key=None, mask=None: dense.apply(params, x[:, ::2, ::2]),
    )


TASKS = {
    "kind": jmeta.Task(layer(3, lambda x: x), optax.softmax_cross_entropy_with_integer_labels),
    "pose": jmeta.Task(layer(2, lambda x: x), jmeta.squared_error),
}
THREE = TASKS | {"size": jmeta.Task(layer(1, lambda x: x), jmeta.squared_error)}


def rows(*shape, count=6, seed=1):
    return jax.random.normal(jax.random.key(seed), (count, *shape))


def initial(model, x):
    """Parameters for tasks that share the input ``x``."""
    return model.init(KEY, jmeta.Batch(x, None))


def outputs(model, params, x):
    return jax.jit(lambda params, x: {name: model.predict(params, name, x) for name in model.names})(params, x)
