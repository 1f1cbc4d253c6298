"""What an alignment is: what draws the features or the outputs of two domains together, and what most alignments share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import fitted
from jmeta._rows import mean_over_rows
from jmeta._sentences import kinds
from jmeta._types import Batch, Metrics, Model, Params

Strength = float | Callable[[Any], Any]  # A number, or a schedule of it: ``step -> number``.


class Domain(NamedTuple):
    """What an alignment sees of one domain.

    Attributes:
      features: of its examples, ``[n, ...]``.
      outputs: what the head makes of them, ``[n, ...]``.
      batch: the examples; without targets in the target domain, whatever it was given. The rows that count are ``batch.real``.
      head: ``features -> outputs``, for what asks the head again.
    """

    features: Any
    outputs: Any
    batch: Batch
    head: Callable[[Any], Any]


class Alignment(NamedTuple):
    """A way of drawing two domains together, as pure functions.

    Attributes:
      init: ``(key, features, outputs) -> params`` of its own, such as those of a discriminator; ``()`` where it has none.
      loss: ``(params, key, source, target, *, step=0) -> (scalar, metrics)`` of two :class:`Domain`, which is added to the loss on
        the source. Both have a real row.
    """

    init: Callable[[jax.Array, Any, Any], Params]
    loss: Callable[..., tuple[jax.Array, Metrics]]


def alignment_by(distance: Callable[[Domain, Domain], jax.Array], strength: Strength) -> Alignment:
    """Makes an alignment without parameters of its own: ``strength`` times a distance of two domains."""

    def init(key: jax.Array, features: Any, outputs: Any) -> Params:
        del key, features, outputs
        return ()

    def loss(params: Params, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del params, key
        value = distance(source, target)
        return at(strength, step) * value, {"distance": value}

    return Alignment(init, loss)


def at(strength: Strength, step: Any) -> Any:
    """Reads a number, or a schedule, at a step."""
    return strength(step) if callable(strength) else strength


def vectors(domain: Domain) -> jax.Array:
    """Gives the features as ``[n, d]``, in float32 at least.

    Raises:
      ValueError: if they are not one array.
    """
    return _wide("features", domain.features, 2).reshape(len(domain.features), -1)


def logits(domain: Domain) -> jax.Array:
    """Gives the outputs, which must be logits ``[n, classes]``, in float32 at least.

    Raises:
      ValueError: if they are anything else, or there is one class.
    """
    return check_logits("outputs", domain.outputs)


def check_logits(name: str, outputs: Any) -> jax.Array:
    """Gives logits ``[n, classes]`` in float32 at least.

    Raises:
      ValueError: if they are anything else, or there is one class.
    """
    found = _wide(name, outputs, 2)
    if found.ndim != 2 or found.shape[1] < 2:
        raise ValueError(f"{name} must be logits [n, classes] of at least 2 classes for this alignment; got {kinds(outputs)}.")
    return found


def init_beside(name: str, model: Model, key: jax.Array, features: Any, outputs: Any) -> Params:
    """Makes the parameters of a model that stands beside the head.

    Raises:
      ValueError: if the head gives no logits, or the model other outputs than it.
    """
    params, found = fitted(name, "the encoder", model, key, features)
    if check_logits("outputs", outputs).shape != getattr(found, "shape", None):
        raise ValueError(f"{name} must give what the head gives, {kinds(outputs)}; got {kinds(found)}.")
    return params


def mean_of(domain: Domain, values: jax.Array) -> jax.Array:
    """Averages ``[n, ...]`` values over the real rows of a domain."""
    return mean_over_rows(values, domain.batch.mask)


def shares(domain: Domain) -> jax.Array:
    """Gives each row its share of the domain, ``[n]``: one over the number of real rows, 0 for a masked one."""
    real = domain.batch.real.astype(vectors(domain).dtype)
    return real / jnp.maximum(real.sum(), 1)


def entropies(logits: jax.Array) -> jax.Array:
    """Computes the entropy of each row's softmax in nats, ``[n]`` from ``[n, classes]``."""
    log_shares = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_shares) * log_shares).sum(axis=-1)


def _wide(name: str, values: Any, rank: int) -> jax.Array:
    if not hasattr(values, "ndim") or values.ndim < rank:
        raise ValueError(f"{name} must be one array [n, ...] to be aligned; got {kinds(values)}.")
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
