"""Deep embedded clustering (DEC; Xie, Girshick and Farhadi, 2016, 1511.06335), equations 1 to 3.

With a decoder it is the improved one (IDEC; Guo, Gao, Liu and Yin, 2017, IJCAI), equations 6 to 9.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import split_key
from jmeta._distances import squared_distances
from jmeta._options import check_model, check_positive
from jmeta._presence import with_presence
from jmeta._rows import count_rows, fill, fill_batch, mean_over_rows
from jmeta._sentences import kinds
from jmeta._types import Batch, Key, Mask, Metrics, Model, Objective, Params
from jmeta._validation import check_rows


class ClusterParams(NamedTuple):
    """The parameters of deep clustering: encoder, centroids ``[clusters, d]``, and decoder, ``()`` where there is none."""

    encoder: Params
    centroids: jax.Array
    decoder: Params = ()


class DeepClustering(NamedTuple):
    """Deep clustering as pure functions.

    Attributes:
      encode: ``(params, x, *, key=None, mask=None) -> features [n, d]``.
      assign: ``(params, x, *, key=None, mask=None) -> [n, clusters]``, the share of each example in each cluster.
      targets: ``shares [n, clusters] -> [n, clusters]``, sharper ones, which the next stage learns; of all examples at once.
      objective: on ``Batch(x, targets)``.
    """

    encode: Callable[..., jax.Array]
    assign: Callable[..., jax.Array]
    targets: Callable[[Any], jax.Array]
    objective: Objective


def deep_embedded_clustering(encoder: Model, decoder: Model | None = None, *, share: float = 0.1) -> DeepClustering:
    r"""Refines clusters and features together, so that each example is surer of its cluster.

    .. math::
        q_{ij} \propto \left(1 + |z_i - \mu_j|^2\right)^{-1}, \quad
        p_{ij} \propto q_{ij}^2 / \textstyle\sum_i q_{ij}, \quad \min \mathrm{KL}(P \,\|\, Q)

    From features that were learnt otherwise and the centroids of :func:`jmeta.transfer.k_means` on them; the targets
    :math:`P` stay for a stage, see :func:`jmeta.transfer.refine_clusters`. With a decoder the loss is
    :math:`|x - g(z)|^2 + \gamma \, \mathrm{KL}`, a mean over the entries of x, which keeps the features from collapsing.

    Args:
      encoder: ``x -> features [n, d]``.
      decoder: ``features -> x``.
      share: :math:`\gamma`, what the clusters count beside a decoder.

    Raises:
      ValueError: if a part is no model; from the functions, if a batch has no targets or the decoder gives anything but ``x``.
    """
    check_model("encoder", encoder)
    check_positive(share=share)
    if decoder is not None:
        check_model("decoder", decoder)

    def encode(params: ClusterParams, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        return encoder.apply(params.encoder, fill(x, mask), key=key, mask=mask)

    def assign(params: ClusterParams, x: Any, *, key: Key = None, mask: Mask = None) -> jax.Array:
        return jnp.exp(_log_shares(encode(params, x, key=key, mask=mask), params.centroids))

    def objective(params: ClusterParams, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("data", batch)
        clusters = len(params.centroids)
        if batch.y is None or batch.y.shape != (count_rows(batch.x), clusters):
            raise ValueError(f"y must hold a share of each cluster per example, [n, {clusters}]; got {kinds(batch.y)}.")
        batch, (encode_key, decode_key) = fill_batch(batch), split_key(key)
        features = encode(params, batch.x, key=encode_key, mask=batch.mask)
        log_shares = _log_shares(features, params.centroids)
        wanted = batch.y.astype(log_shares.dtype)
        known = wanted > 0
        distances = wanted * (jnp.log(jnp.where(known, wanted, 1)) - log_shares)
        value = divergence = mean_over_rows(distances.sum(axis=-1), batch.mask)
        metrics = {"divergence": divergence}
        if decoder is not None:
            rebuilt = decoder.apply(params.decoder, features, key=decode_key, mask=batch.mask)
            if getattr(rebuilt, "shape", None) != batch.x.shape:
                raise ValueError(f"decoder must give what the encoder takes, {kinds(batch.x)}; got {kinds(rebuilt)}.")
            metrics["reconstruction"] = mean_over_rows(jnp.square(rebuilt - batch.x), batch.mask)
            value = metrics["reconstruction"] + share * divergence
        return value, with_presence({"loss": value} | metrics, batch)

    return DeepClustering(encode, assign, sharpened, objective)


def sharpened(shares: Any) -> jax.Array:
    """Squares shares ``[n, clusters]`` over the size of each cluster, so that they are surer and large clusters draw no more."""
    squares = jnp.square(jnp.asarray(shares)) / jnp.maximum(jnp.asarray(shares).sum(axis=0, keepdims=True), 1e-30)
    return squares / squares.sum(axis=1, keepdims=True)


def _log_shares(features: jax.Array, centroids: jax.Array) -> jax.Array:
    wide = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return jax.nn.log_softmax(-jnp.log1p(squared_distances(wide, centroids.astype(wide.dtype))))
