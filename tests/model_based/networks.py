"""Networks and tasks of the tests of learners that read examples, in the precision of the test."""

import jax
import jax.numpy as jnp
import numpy as np

import jmeta

KEY = jax.random.key(0)
WAYS = 3


def dense(*widths):
    """Layers with a tanh after each."""

    def init(key, x):
        sizes = zip((x.shape[-1], *widths[:-1]), widths, strict=True)
        return [jax.random.normal(jax.random.fold_in(key, at), size) / size[0] ** 0.5 for at, size in enumerate(sizes)]

    return jmeta.Model(init, lambda params, x, *, key=None, mask=None: plain(params, x, jnp))


def plain(params, x, library=np):
    """What those layers do."""
    for kernel in params:
        x = library.tanh(x @ kernel)
    return x


def affine(params, x):
    """What flax's dense layer does."""
    return x @ params["kernel"] + params.get("bias", 0)


def classification(rows=7, queries=4):
    generator = np.random.default_rng(rows)
    x, query_x = (generator.normal(size=(n, 2)) for n in (rows, queries))
    y, query_y = (generator.permutation(np.arange(n) % WAYS) for n in (rows, queries))
    return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(query_x, query_y), np.ones(WAYS, bool))


def regression(rows=5, queries=4):
    generator = np.random.default_rng(rows)
    support, query = (jmeta.Batch(generator.normal(size=(n, 2)), generator.normal(size=(n, 1))) for n in (rows, queries))
    return jmeta.Episode(support, query)


def made(learner, episode):
    """Parameters in float64, which flax makes in float32; its zeros, of biases, are made numbers that differ."""
    params, generator = jax.jit(learner.init)(KEY, episode), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.1 * generator.normal(size=leaf.shape), params)


def softmax(scores):
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def cross_entropy(outputs, labels):
    return np.mean([-np.log(softmax(row)[label]) for row, label in zip(outputs, labels, strict=True)])
