"""Tasks of a few classes, and an encoder that scales what it is given."""

import jax
import jax.numpy as jnp
import numpy as np

import jmeta

WIDTH = 5
SCALES = jmeta.Model(lambda key, x: jnp.ones(x.shape[1]), lambda params, x, *, key=None, mask=None: x * params[None])


def task(seed, ways=4, rows=12, queries=8):
    """Classes around their centres, ``rows`` of the support in turn; queries of any class."""
    generator = np.random.default_rng(seed)
    centers, labels, asked = generator.normal(size=(ways, WIDTH)), np.arange(rows) % ways, generator.integers(ways, size=queries)
    support = jmeta.Batch(centers[labels] + generator.normal(size=(rows, WIDTH)), labels)
    return jmeta.Episode(support, jmeta.Batch(centers[asked] + generator.normal(size=(queries, WIDTH)), asked), np.ones(ways, bool))


def without_support(episode, way):
    """The same with nothing of one class."""
    return episode._replace(support=episode.support._replace(mask=episode.support.y != way))


def empty(episode):
    """All vectors zero, as those of dead units are."""
    return episode._replace(**{part: batch._replace(x=np.zeros_like(batch.x)) for part, batch in parts(episode).items()})


def equal(episode):
    """All examples one and the same."""
    row = episode.support.x[:1]
    return episode._replace(
        **{part: batch._replace(x=np.repeat(row, len(batch.y), axis=0)) for part, batch in parts(episode).items()}
    )


def as_type(tree, dtype):
    """Makes numbers, but not labels and masks, of a type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if np.asarray(leaf).dtype.kind == "f" else jnp.asarray(leaf), tree)


def parts(episode):
    return {"support": episode.support, "query": episode.query}


HARD = {
    "one shot": task(1, rows=4),
    "a class without support": without_support(task(2), 3),
    "zeros": empty(task(3)),
    "equal examples": equal(task(4)),
    "bfloat16": task(5),
}
