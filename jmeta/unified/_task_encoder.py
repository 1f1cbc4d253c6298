"""Task encoders: from the examples of a task to a vector, and from that vector back to targets.

Attention over a set of examples follows the set transformer (Lee et al., 2019, 1810.00825), equations 6 to 11 with one head and
without layer normalisation; the reconstruction is the decoder of a conditional neural process (Garnelo et al., 2018, 1807.01613).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import outputs_like
from jmeta._options import check_counts, check_model
from jmeta._rows import fill
from jmeta._types import Batch, EncoderHead, Mask, Model, Params
from jmeta.unified._dense import dense, dense_init
from jmeta.unified._examples import examples_of, outputs_from, width_of_outputs
from jmeta.unified._parts import TaskEncoder


def attention_task_encoder(
    *, embedding: int = 16, width: int = 64, seeds: int = 4, features: Model | None = None, empty: bool = False
) -> TaskEncoder:
    r"""Makes a vector of a set of examples by attention.

    .. math::

        h_i = \mathrm{mlp}(W_x f(x_i) + W_y y_i), \quad
        h_i \leftarrow h_i + \mathrm{attend}(h_i, \{h_j\}), \quad
        e = \tanh \mathrm{mlp}([\mathrm{attend}(s_k, \{h_j\})]_k)

    with learned seeds s. Labels enter one-hot. Where outputs are as large as features, as for a class per pixel, every location is
    an example, and targets are those of its corner. The reconstruction is a network of :math:`f(x)` and e.

    Args:
      embedding: d, the size of the vector.
      width: of the layers.
      seeds: how many times the examples are summed up.
      features: :math:`f`, ``x -> [n, ...]``; what is given, flattened, by default.
      empty: whether a task without examples has an embedding, which is learnt; a learner refuses such a task otherwise.

    Raises:
      ValueError: if a size is no whole number of at least 1, or ``features`` is no model.
    """
    check_counts(embedding=embedding, width=width, seeds=seeds)
    if features is not None:
        check_model("features", features)

    def featured(shared: Params, batch: Batch) -> Any:
        x = fill(batch.x, batch.mask)
        return x if features is None else features.apply(shared["features"], x, mask=batch.mask)

    def init(key: jax.Array, batch: Batch, outputs: Any) -> EncoderHead:
        keys = iter(jax.random.split(key, 16))
        shared = {} if features is None else {"features": features.init(next(keys), fill(batch.x, batch.mask))}
        seen = outputs_like(featured, shared, batch)
        examples = examples_of(seen, batch, outputs)
        inputs, targets = examples.x.shape[-1], examples.y.shape[-1]
        shared |= {
            "inputs": dense_init(next(keys), inputs, width),
            "hidden": dense_init(next(keys), width, width),
            "between": _attention_init(next(keys), width),
            "seeds": jax.random.normal(next(keys), (seeds, width)),
            "pooled": _attention_init(next(keys), width),
            "summary": dense_init(next(keys), seeds * width, width),
            "embedding": dense_init(next(keys), width, embedding),
            "decoder": {
                "inputs": dense_init(next(keys), inputs, width),
                "embedding": dense_init(next(keys), embedding, width),
                "hidden": dense_init(next(keys), width, width),
            },
        }
        shared |= {"nothing": jax.random.normal(next(keys), (1, width))} if empty else {}
        own = {
            "targets": dense_init(next(keys), targets, width),
            "outputs": dense_init(next(keys), width, width_of_outputs(examples, outputs)),
        }
        return EncoderHead(shared, own)

    def embed(params: EncoderHead, batch: Batch, outputs: Any, *, classes: Mask = None) -> jax.Array:
        shared, examples = params.encoder, examples_of(featured(params.encoder, batch), batch, outputs, classes)
        rows = jax.nn.relu(dense(shared["inputs"], examples.x) + dense(params.head["targets"], examples.y))
        rows, real = jax.nn.relu(dense(shared["hidden"], rows)), examples.real
        if empty:
            rows = jnp.concatenate([shared["nothing"].astype(rows.dtype), rows])
            real = jnp.concatenate([jnp.ones(1, bool), real])
        rows = rows + _attend(shared["between"], rows, rows, real)
        pooled = _attend(shared["pooled"], shared["seeds"].astype(rows.dtype), rows, real)
        return jnp.tanh(dense(shared["embedding"], jax.nn.relu(dense(shared["summary"], pooled.reshape(-1)))))

    def reconstruct(params: EncoderHead, vector: jax.Array, batch: Batch, outputs: Any) -> tuple[Any, Batch]:
        part, examples = params.encoder["decoder"], examples_of(featured(params.encoder, batch), batch, outputs)
        rows = jax.nn.relu(dense(part["inputs"], examples.x) + dense(part["embedding"], vector)[None])
        rows = dense(params.head["outputs"], jax.nn.relu(dense(part["hidden"], rows)))
        return outputs_from(rows, examples, outputs), examples.batch

    return TaskEncoder(init, embed, reconstruct, empty)


def _attention_init(key: jax.Array, width: int) -> Params:
    keys, values = jax.random.split(key)
    # A bias of keys would be the same for all rows, which a softmax does not see.
    return {"keys": dense_init(keys, width, width)["kernel"], "values": dense_init(values, width, width)}


def _attend(params: Params, queries: jax.Array, rows: jax.Array, real: jax.Array) -> jax.Array:
    """Averages values of the real rows for each query; zeros where no row is real."""
    scores = queries @ (rows @ params["keys"]).T / rows.shape[-1] ** 0.5
    scores = jnp.where(real[None, :], scores, jnp.finfo(scores.dtype).min)
    shares = jnp.where(real[None, :], jax.nn.softmax(scores, axis=-1), 0)
    return shares @ dense(params["values"], rows)
