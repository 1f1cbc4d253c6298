"""SNAIL, a simple neural attentive meta-learner (Mishra, Rohaninejad, Chen and Abbeel, 2018, 1707.03141)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._composition import check_encoder_head, fitted, outputs_like, split_key
from jmeta._options import check_counts
from jmeta._rows import fill_batch
from jmeta._scoring import query_loss
from jmeta._types import Adapted, Batch, EncoderHead, Episode, Key, Learner, LossFn, Mask, Params
from jmeta._validation import check_episode, check_task
from jmeta.model_based._told import check_width, encode, order_of, told
from jmeta.models import from_linen

OMNIGLOT = ((64, 32), (256, 128), (512, 256))


def snail(
    model: EncoderHead,
    loss_fn: LossFn,
    *,
    length: int,
    attentions: Sequence[tuple[int, int]] = OMNIGLOT,
    filters: int = 128,
    shuffles: bool = True,
) -> Learner:
    r"""Reads support and query as a sequence, by causal convolutions and causal attention in turn; the query has no target.

    The sequence is :math:`(f(x_1), y_1), \dots, (f(x_n), y_n), (f(x), 0)`, and the last row is judged. Layers append to what is
    there: between two of the ``attentions`` stand convolutions of two rows, 1, 2, 4, ... rows apart, which together reach over
    ``length`` rows and the query. No row sees a later one, so the support is read once, which is what a task adapts, and every
    query follows it as if it were alone. Rows that do not count are left out; of weights it matters only whether they are 0.

    Differs from public code, which disagrees about the distances (some begin with 2), and of which one takes the softmax of
    attention over the rows that ask, not over those that are asked.

    Args:
      model: the encoder f, ``x -> [n, d]``, and the head, from the rows of the last attention to the outputs.
      loss_fn: ``(outputs, targets) -> [n, ...]``.
      length: the most rows that a support may have, such as ways times shots.
      attentions: widths of the keys and of the values of each; by default those of the paper's network for Omniglot.
      filters: what each convolution appends.
      shuffles: whether the support is read in an order drawn from the key, or as it stands, such as by time.

    Raises:
      ValueError: if an option is out of its range or ``model`` has no two parts; from ``init``, if the encoder gives no vectors, or
        labels are not below the outputs; from ``adapt``, if there are more rows than ``length``, no key to draw the order from, or
        other ways than those of the task that ``init`` was given.
    """
    from jmeta.nn import CausalAttention, CausalConvolution

    check_encoder_head(model)
    check_counts(length=length, filters=filters)
    if np.ndim(attentions) != 2 or np.shape(attentions)[1:] != (2,):
        raise ValueError(f"attentions must be pairs of widths, of keys and of values, at least one; got {attentions!r}.")
    # 2 ** len(distances) is at least length + 1, the rows of a support and the query.
    distances = [2**power for power in range(length.bit_length())]
    convolution = from_linen(CausalConvolution(filters))
    layers: list[Any] = []
    for sizes in attentions:
        layers += [(convolution, distance) for distance in distances] if layers else []
        layers += [(from_linen(CausalAttention(*sizes)), 0)]

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        support, keys = fill_batch(episode.support), jax.random.split(key, 2 + len(layers))
        encoder = model.encoder.init(keys[0], support.x)
        vectors = outputs_like(lambda params, x: encode(model.encoder, params, x), encoder, support.x)
        rows, weights = jnp.concatenate([vectors, told(support, episode.classes).values], axis=1)[:1], []
        for (layer, distance), one in zip(layers, keys[2:], strict=True):
            given = (rows, rows) if distance else (rows, rows, jnp.ones((1, 1), bool))
            found, rows = fitted("a layer", "the one before", layer, one, given)
            weights.append(found)
        head, _ = fitted("model.head", "the last attention", model.head, keys[1], rows)
        params = {"encoder": encoder, "layers": weights, "head": head}
        check_task(learner, params, episode, loss_fn)
        return params

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        order_key, encode_key = split_key(key)
        values, counts = told(support, classes)
        if len(values) > length:
            raise ValueError(f"support must have at most length={length} rows, for which snail was built; got {len(values)}.")
        vectors = encode(model.encoder, params["encoder"], support.x, key=encode_key if training else None, mask=support.mask)
        check_width(values, params["layers"][0]["keys"]["kernel"].shape[0] - vectors.shape[1])
        # The real rows come last, so that the query follows them.
        order = order_of(order_key, counts > 0, shuffles=shuffles, real_last=True)
        real, rows, contexts = (counts > 0)[order], jnp.concatenate([vectors, values], axis=1)[order], []
        seen = jnp.tril(jnp.broadcast_to(real, (len(real), len(real))), -1)
        for (layer, distance), weights in zip(layers, params["layers"], strict=True):
            # As before the first row of a sequence there are zeros in the place of rows that do not count.
            rows = jnp.where(real[:, None], rows, 0)
            contexts.append(rows)
            before = jnp.pad(rows, ((distance, 0), (0, 0)))[: len(rows)]
            rows = layer.apply(weights, (rows, before) if distance else (rows, rows, seen))
        return {"contexts": contexts, "real": real}

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        encode_key, head_key = split_key(key)
        vectors = encode(model.encoder, params["encoder"], x, key=encode_key, mask=mask)
        rows = jnp.pad(vectors, ((0, 0), (0, adapted["contexts"][0].shape[1] - vectors.shape[1])))
        seen = jnp.broadcast_to(adapted["real"], (len(rows), len(adapted["real"])))
        for (layer, distance), weights, context in zip(layers, params["layers"], adapted["contexts"], strict=True):
            before = context[-distance] if distance <= len(context) else jnp.zeros_like(context[0])
            rows = layer.apply(weights, (rows, jnp.broadcast_to(before, rows.shape)) if distance else (rows, context, seen))
        return model.head.apply(params["head"], rows, key=head_key, mask=mask)

    learner = Learner(init, adapt, predict, query_loss(adapt, predict, loss_fn), None, model.encoder.normalization)
    return learner
