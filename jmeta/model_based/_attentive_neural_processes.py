"""Attentive neural processes (Kim et al., 2019, 1901.05761)."""

import jax

from jmeta._composition import check_encoder_head, fitted
from jmeta._options import check_model
from jmeta._types import EncoderHead, Key, Learner, Mask, Model, Params
from jmeta.model_based._process import Examples, Representation, neural_process
from jmeta.model_based._told import encode
from jmeta.models import from_linen


def attentive_neural_processes(
    encoder: Model,
    decoder: Model,
    *,
    query: Model,
    latent: EncoderHead | None = None,
    width: int = 128,
    heads: int = 8,
    lowest_deviation: float = 0.1,
) -> Learner:
    r"""Predicts from what attention finds at each input among what is said of each example.

    .. math:: r(x) = \mathrm{attend}(e(x), \{e(x_i)\}, \{h(x_i, y_i)\}), \quad (\mu, \sigma) = g(x, r(x), z)

    With ``latent`` there is a random vector z besides, as in :func:`jmeta.neural_processes`; without, as in
    :func:`jmeta.conditional_neural_processes`, the loss is the likelihood. Attention is over the support: no query sees another.

    Args:
      encoder: h, ``[n, inputs + targets] -> [n, d]``.
      decoder: g, ``[n, inputs + width + z] -> [n, 2 k]`` for targets ``[n, k]``.
      query: e, ``[n, inputs] -> [n, d]``, of queries and keys.
      latent: of z, as in :func:`jmeta.neural_processes`.
      width: of what attention finds (:class:`jmeta.nn.Attention`).
      heads: of the attention; ``width`` is a multiple of it.
      lowest_deviation: as in :func:`jmeta.conditional_neural_processes`.

    Raises:
      ValueError: as :func:`jmeta.conditional_neural_processes`, and if ``width`` is not a multiple of ``heads``.
    """
    from jmeta.nn import Attention

    check_model("encoder", encoder)
    check_model("query", query)
    if latent is not None:
        check_encoder_head(latent)
    attention = from_linen(Attention(width, heads))

    def init(key: jax.Array, examples: Examples) -> Params:
        keys = jax.random.split(key, 3)
        values, rows = fitted("encoder", "the task", encoder, keys[0], examples.pairs)
        places, known = fitted("query", "the task", query, keys[1], examples.x)
        weights, _ = fitted("the attention", "encoder and query", attention, keys[2], (known, known, rows, examples.counts))
        return {"encoder": values, "query": places, "attention": weights}

    def read(params: Params, examples: Examples, key: Key) -> tuple[jax.Array, jax.Array, jax.Array]:
        values = encode(encoder, params["encoder"], examples.pairs, key=key, mask=examples.mask)
        return encode(query, params["query"], examples.x, mask=examples.mask), values, examples.counts

    def at(params: Params, found: tuple[jax.Array, jax.Array, jax.Array], x: jax.Array, key: Key, mask: Mask) -> jax.Array:
        places = encode(query, params["query"], x, key=key, mask=mask)
        return attention.apply(params["attention"], (places, *found))

    path = Representation(init, read, at)
    return neural_process(decoder, path=path, latent=latent, lowest_deviation=lowest_deviation)
