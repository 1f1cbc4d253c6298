"""Small parts of models, in whatever precision is on, two domains of data, and what a naive loop says of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from jmeta import Batch, transfer

KEY = jax.random.key(0)
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
FEATURES, CLASSES = 4, 3


def dense(outputs, activation=lambda x: x):
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], outputs)),
        lambda params, x, *, key=None, mask=None: activation(x @ params),
    )


def data(source=6, target=5, shift=1.0):
    """Two domains, the second shifted and stretched."""
    random = np.random.default_rng(0)
    x, other = random.normal(size=(source, 2)), shift + (1 + shift) * random.normal(size=(target, 2))
    return {"source": Batch(jnp.asarray(x), jnp.arange(source) % CLASSES), "target": Batch(jnp.asarray(other), None)}


def adapted(alignment):
    """A small model of two domains with an alignment."""
    return transfer.domain_adaptation(dense(FEATURES, jnp.tanh), dense(CLASSES), CROSS_ENTROPY, alignment)


def domain(features, outputs=None, mask=None, y=None, head=None):
    features = jnp.asarray(features)
    outputs = jnp.zeros((len(features), CLASSES)) if outputs is None else jnp.asarray(outputs)
    return transfer.Domain(features, outputs, Batch(features, y, mask), head or (lambda features: outputs))


def rows(*shape, seed=1, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def distance(alignment, source, target, params=(), step=0):
    """The loss of an alignment on two domains that are given as they are."""
    return jax.jit(lambda params: alignment.loss(params, KEY, source, target, step=step)[0])(params)
