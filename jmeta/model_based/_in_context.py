"""An in-context learner: a transformer that reads the support as a set, as prior-data fitted networks do (2112.10510).

Prior-data fitted networks are those of Müller, Hollmann, Pineda Arango, Grabocka and Hutter (2022).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._composition import check_encoder_head, fitted, outputs_like, split_key
from jmeta._options import check_counts
from jmeta._rows import fill_batch
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, EncoderHead, Episode, Key, Learner, LossFn, Mask, Params
from jmeta._validation import check_episode, check_task
from jmeta.model_based._told import check_width, encode, told
from jmeta.models import from_linen


def in_context_learner(model: EncoderHead, loss_fn: LossFn, *, width: int = 64, layers: int = 2, heads: int = 4) -> Learner:
    r"""Answers each query by attention to the support, whose examples attend to each other.

    .. math::

        h_i = W f(x_i) + V y_i + b, \quad h_i \leftarrow \mathrm{block}_l(h_i, \{h_j\}), \quad
        q = W f(x), \quad q \leftarrow \mathrm{block}_l(q, \{h_j\}), \quad \mathrm{head}(\mathrm{norm}(q))

    The support is a set: its order does not matter, and an example counts what its weight says. It is read once, layer by layer,
    which is what a task adapts; a query sees those layers and no other query. Targets may be labels or numbers.

    Differs from prior-data fitted networks where a query looks: at the support alone, and at itself only along the residual path.

    Args:
      model: the encoder f, ``x -> [n, d]``, and the head, from ``[n, width]`` to the outputs.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      width: of the blocks (:class:`jmeta.nn.AttentionBlock`).
      layers: how many blocks.
      heads: of each; ``width`` is a multiple of it.

    Raises:
      ValueError: if an option is out of its range or ``model`` has no two parts; from ``init``, if the encoder gives no vectors, or
        labels are not below the outputs; from ``adapt``, if a task has other ways than that of ``init``.
    """
    from flax import linen

    from jmeta.nn import AttentionBlock

    check_encoder_head(model)
    check_counts(layers=layers)
    block, norm = from_linen(AttentionBlock(width, heads)), from_linen(linen.LayerNorm())
    inputs, targets = (from_linen(linen.Dense(width, use_bias=bias)) for bias in (False, True))

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        support, keys = fill_batch(episode.support), jax.random.split(key, 4 + layers)
        params: dict[str, Any] = {"encoder": model.encoder.init(keys[0], support.x)}
        vectors = outputs_like(lambda params, x: encode(model.encoder, params, x), params["encoder"], support.x)
        values = told(support, episode.classes).values
        rows = jnp.zeros((len(values), width), values.dtype)
        params |= {"inputs": inputs.init(keys[1], vectors), "targets": targets.init(keys[2], values), "norm": norm.init(key, rows)}
        params |= {"blocks": [block.init(one, (rows, rows, jnp.ones(len(rows), rows.dtype))) for one in keys[4:]]}
        params |= {"head": fitted("model.head", "the last block", model.head, keys[3], rows)[0]}
        check_task(learner, params, episode, loss_fn)
        return params

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        values, counts = told(support, classes)
        check_width(values, params["targets"]["kernel"].shape[0])
        vectors = encode(model.encoder, params["encoder"], support.x, key=key if training else None, mask=support.mask)
        contexts = [inputs.apply(params["inputs"], vectors) + targets.apply(params["targets"], values)]
        for weights in params["blocks"][:-1]:
            contexts.append(block.apply(weights, (contexts[-1], contexts[-1], counts)))
        return {"contexts": contexts, "counts": counts}

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        encode_key, head_key = split_key(key)
        rows = inputs.apply(params["inputs"], encode(model.encoder, params["encoder"], x, key=encode_key, mask=mask))
        for weights, context in zip(params["blocks"], adapted["contexts"], strict=True):
            rows = block.apply(weights, (rows, context, adapted["counts"]))
        return model.head.apply(params["head"], norm.apply(params["norm"], rows), key=head_key, mask=mask)

    learner = Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, model.encoder.normalization)
    return learner
