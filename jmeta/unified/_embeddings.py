"""The embeddings of a fixed set of tasks: where they stand among the parameters, and how they attend to one another."""

import jax
import jax.numpy as jnp

from jmeta._types import EncoderHead, Params
from jmeta.unified._dense import dense


def attention_between_tasks(params: Params) -> jax.Array:
    """Shows what each task takes from each other, ``[tasks, tasks]`` in the order of the names; rows add up to one.

    Args:
      params: of :func:`unified_multitask`.

    Raises:
      ValueError: if embeddings do not attend to one another.
    """
    if "between" not in params.encoder:
        raise ValueError("params must be those of a unified_multitask(..., between_tasks=True); got none with attention.")
    return _shares(params.encoder)


def _shares(shared: Params) -> jax.Array:
    vectors = jnp.stack([shared["embeddings"][name] for name in sorted(shared["embeddings"])])
    scores = vectors @ (vectors @ shared["between"]["keys"]).T / vectors.shape[-1] ** 0.5
    return jax.nn.softmax(scores, axis=-1)


def attended(shared: Params, own: Params, name: str) -> jax.Array:
    """Gives the embedding of a task, with what it takes from those of the others."""
    if "between" not in shared:
        return own["embedding"]
    names = sorted(shared["embeddings"])
    vectors = jnp.stack([shared["embeddings"][name] for name in names])
    taken = _shares(shared)[names.index(name)] @ dense(shared["between"]["values"], vectors)
    return shared["embeddings"][name] + taken


def embedding_of(params: Params, name: str) -> jax.Array:
    return params.encoder["embeddings"][name] if "between" in params.encoder else params.head[name].encoder["embedding"]


def with_embedding(params: Params, name: str, vector: jax.Array) -> Params:
    if "between" in params.encoder:
        shared = params.encoder | {"embeddings": params.encoder["embeddings"] | {name: vector}}
        return params._replace(encoder=shared)
    head = params.head[name]
    return params._replace(head=params.head | {name: head._replace(encoder=head.encoder | {"embedding": vector})})


def task_part(params: Params, name: str) -> EncoderHead:
    return EncoderHead(params.encoder["task_encoder"], params.head[name].encoder["task_encoder"])
