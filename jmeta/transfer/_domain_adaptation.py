"""Unsupervised domain adaptation: labelled examples of one domain, and examples without labels of another.

The bound that all alignments lower: the error on the target is at most that on the source, a divergence of the two domains, and
the error of the best common hypothesis (Ben-David et al., 2010, *A theory of learning from different domains*, theorem 2).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import compose, fitted
from jmeta._presence import any_present, prefixed
from jmeta._rows import fill_batch, presence
from jmeta._scoring import score
from jmeta._sentences import shapes
from jmeta._types import Batch, EncoderHead, Key, LossFn, Mask, Metrics, Model, Objective, Params
from jmeta._validation import CLASSIFICATION, check_rows
from jmeta.transfer._alignment import Alignment, Domain
from jmeta.transfer._labels import check_labels


class DomainParams(NamedTuple):
    """The parameters of a model of two domains: of the encoder, of the head, of the alignment itself."""

    encoder: Params
    head: Params
    alignment: Params


class DomainAdaptation(NamedTuple):
    """A model of two domains as pure functions.

    Attributes:
      init: ``(key, {"source": Batch, "target": Batch}) -> DomainParams``.
      encode: ``(params, x, *, key=None, mask=None) -> features``, in either domain.
      predict: ``(params, x, *, key=None, mask=None) -> outputs``, in either domain.
      objective: ``(params, key, {"source": Batch, "target": Batch}, *, step=0) -> (scalar, metrics)``.
    """

    init: Callable[[jax.Array, Any], DomainParams]
    encode: Callable[..., Any]
    predict: Callable[..., Any]
    objective: Objective


def domain_adaptation(encoder: Model, head: Model, loss_fn: LossFn, alignment: Alignment) -> DomainAdaptation:
    r"""Learns from the labels of one domain to predict in another, from which there are inputs alone.

    .. math:: \frac{1}{n_s} \sum_i \ell(h(f(x^s_i)), y^s_i) + \lambda \, d(f(x^s), f(x^t))

    Data is ``{"source": Batch(x, y), "target": Batch(x, None)}``, of any two sizes; targets that the target brings are never looked
    at. Each domain runs through the network on its own, so that statistics of the batch are those of a domain, as in predicting.
    Where one domain has no real row, nothing is aligned. Metrics are ``loss``, ``source_loss`` and those of the alignment, as
    ``alignment/distance``.

    Args:
      encoder: ``x -> features``, which are aligned.
      head: ``features -> outputs``.
      loss_fn: of the outputs and the targets of the source.
      alignment: :math:`\lambda d`, such as :func:`jmeta.transfer.coral`, or one's own :class:`jmeta.transfer.Alignment`.

    Raises:
      ValueError: if a part is no model or no alignment; from the functions, if data is anything else or domains have inputs of
        different shapes; from ``init``, if the head does not take the features or has no output for a label.
    """
    model = compose(encoder, head)
    if not isinstance(alignment, Alignment):
        raise ValueError(f"alignment must be an Alignment, such as jmeta.transfer.coral(); got {type(alignment).__name__}.")

    def init(key: jax.Array, data: Mapping[str, Batch]) -> DomainParams:
        source, _ = domains_of(data)
        encoder_key, head_key, alignment_key = jax.random.split(key, 3)
        encoder_params, features = fitted("encoder", "the source", encoder, encoder_key, source.x)
        head_params, outputs = fitted("head", "the encoder", head, head_key, features)
        if loss_fn in CLASSIFICATION:
            check_labels("source", source, outputs)
        return DomainParams(encoder_params, head_params, alignment.init(alignment_key, features, outputs))

    def encode(params: DomainParams, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return encoder.apply(params.encoder, x, key=key, mask=mask)

    def predict(params: DomainParams, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        return model.apply(EncoderHead(params.encoder, params.head), x, key=key, mask=mask)

    def look(params: DomainParams, batch: Batch, key: jax.Array) -> Domain:
        encoder_key, head_key = jax.random.split(key)
        features = encoder.apply(params.encoder, batch.x, key=encoder_key, mask=batch.mask)

        def classify(features: Any) -> Any:
            return head.apply(params.head, features, key=head_key, mask=batch.mask)

        return Domain(features, classify(features), batch, classify)

    def objective(params: DomainParams, key: jax.Array, data: Mapping[str, Batch], *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        *keys, alignment_key = jax.random.split(key, 3)
        source, target = (look(params, batch, part) for batch, part in zip(domains_of(data), keys, strict=True))
        value = score(loss_fn, source.outputs, source.batch)
        apart, found = alignment.loss(params.alignment, alignment_key, source, target, step=step)
        masks = [domain.batch.mask for domain in (source, target) if domain.batch.mask is not None]
        both = None if not masks else jnp.stack([mask.any() for mask in masks]).all()
        apart = apart if both is None else jnp.where(both, apart, 0)
        metrics = {"loss": value + apart, "source_loss": value} | prefixed("alignment", found)
        return value + apart, metrics | any_present([presence(source.batch), both])

    return DomainAdaptation(init, encode, predict, objective)


def domains_of(data: Any) -> tuple[Batch, Batch]:
    """Gives the two batches, their masked rows filled, the target's without targets.

    Raises:
      ValueError: if there are not two, or their inputs differ in more than their number.
    """
    if not isinstance(data, Mapping) or set(data) != {"source", "target"}:
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f'data must be {{"source": Batch(x, y), "target": Batch(x, None)}}; got {got}.')
    source, target = data["source"], data["target"]._replace(y=None, weights=None)
    check_rows("source", source)
    check_rows("target", target)
    one, other = ([leaf.shape[1:] for leaf in jax.tree.leaves(batch.x)] for batch in (source, target))
    if one != other or jax.tree.structure(source.x) != jax.tree.structure(target.x):
        raise ValueError(f"source.x and target.x must have rows of one shape; got {shapes(source.x)} and {shapes(target.x)}.")
    return fill_batch(source), fill_batch(target)
