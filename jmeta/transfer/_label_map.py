"""Labels of few coarse classes from those of many fine ones, and the other way round."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._sentences import kinds
from jmeta.transfer._labels import parents_of, shares_within


class LabelMap(NamedTuple):
    """The coarse class of each fine class, and what follows from it, as pure functions.

    Labels that are no class, such as those of absent targets, have no counterpart: they become -1, no share, no restriction. The
    softmax of logits are the probabilities; probabilities are given as their logarithms.

    Attributes:
      parents: ``[fine]``, on the host.
      coarse_labels: ``labels [...] -> [...]``, of fine classes to those of coarse ones.
      coarse_logits: ``logits [..., fine] -> [..., coarse]``: the probability of a coarse class is the sum of its fine ones'.
      fine_shares: ``labels [...] -> [..., fine]``: a coarse label spread over its fine classes, as probabilities.
      fine_logits: ``logits [..., coarse] -> [..., fine]``: the probability of a coarse class spread over its fine ones.
      restrict: ``(logits [..., fine], labels [...]) -> [..., fine]``: the logits of fine classes outside a coarse label so low that
        no softmax sees them.
    """

    parents: np.ndarray
    coarse_labels: Callable[[Any], jax.Array]
    coarse_logits: Callable[[Any], jax.Array]
    fine_shares: Callable[[Any], jax.Array]
    fine_logits: Callable[[Any], jax.Array]
    restrict: Callable[[Any, Any], jax.Array]


def label_map(
    parents: Sequence[int] | Mapping[int, int], *, fine: int | None = None, coarse: int | None = None, shares: Any = None
) -> LabelMap:
    r"""Maps labels and logits between fine classes and the coarse ones that they make up.

    .. math:: p(c \mid x) = \sum_{f \in c} p(f \mid x), \quad p(f \mid x) = p(c_f \mid x) \, s_f / \textstyle\sum_{g \in c_f} s_g

    So a network of fine classes learns from coarse labels by the loss ``lambda outputs, labels: loss_fn(map.coarse_logits(outputs),
    labels)``, and a teacher of fine classes teaches a student of coarse ones by ``Taught(labels, map.coarse_logits(logits))``.

    >>> pets = label_map([0, 0, 1])
    >>> pets.coarse_labels(jnp.array([2, 0])).tolist(), pets.fine_shares(jnp.array([0])).tolist()
    ([1, 0], [[0.5, 0.5, 0.0]])

    Args:
      parents: the coarse class of each fine class, ``[fine]`` or ``{fine: coarse}``; both are numbered from 0.
      fine: how many fine classes there are; as many as ``parents`` has by default.
      coarse: how many coarse ones; as many as occur by default.
      shares: :math:`s`, ``[fine]``, what a fine class counts in its coarse one, such as how often it occurs; alike by default.

    Raises:
      ValueError: if the map leaves out a fine or a coarse class, or has one that is none, or shares are not ``[fine]`` positive
        numbers; from the functions, if logits have not one entry for each class.
    """
    found, count = parents_of(parents, fine, coarse)
    sizes = np.bincount(found, minlength=count)
    within = shares_within(found, shares)
    # The fine classes of each coarse one, [coarse, most], and which of them are there.
    real = np.arange(sizes.max())[None] < sizes[:, None]
    places = np.zeros(real.shape, np.int32)
    places[real] = np.argsort(found, kind="stable")

    def coarse_labels(labels: Any) -> jax.Array:
        labels = _integers(labels)
        known = (labels >= 0) & (labels < len(found))
        return jnp.where(known, jnp.asarray(found)[jnp.where(known, labels, 0)], -1)

    def coarse_logits(logits: Any) -> jax.Array:
        each = jax.nn.log_softmax(_of_classes(logits, len(found), "fine"))[..., places]
        return jax.nn.logsumexp(each, axis=-1, where=jnp.broadcast_to(real, each.shape))

    def fine_shares(labels: Any) -> jax.Array:
        return jnp.where(_members(labels, found), jnp.asarray(within, float), 0)

    def fine_logits(logits: Any) -> jax.Array:
        each = jax.nn.log_softmax(_of_classes(logits, count, "coarse"))[..., found]
        return each + jnp.broadcast_to(jnp.log(jnp.asarray(within, each.dtype)), each.shape)

    def restrict(logits: Any, labels: Any) -> jax.Array:
        logits, inside = _of_classes(logits, len(found), "fine"), _members(labels, found)
        inside |= ~inside.any(axis=-1, keepdims=True)
        return jnp.where(inside, logits, jnp.finfo(logits.dtype).min / 2)

    return LabelMap(found, coarse_labels, coarse_logits, fine_shares, fine_logits, restrict)


def _members(labels: Any, parents: np.ndarray) -> jax.Array:
    labels = _integers(labels)
    return labels[..., None] == jnp.broadcast_to(jnp.asarray(parents), (*labels.shape, len(parents)))


def _integers(labels: Any) -> jax.Array:
    if not jnp.issubdtype(jnp.asarray(labels).dtype, jnp.integer):
        raise ValueError(f"labels must be integers; got {kinds(labels)}.")
    return jnp.asarray(labels).astype(int)


def _of_classes(logits: Any, count: int, kind: str) -> jax.Array:
    if not hasattr(logits, "ndim") or logits.shape[-1:] != (count,):
        raise ValueError(f"logits must have one entry for each of {count} {kind} classes; got {kinds(logits)}.")
    logits = jnp.asarray(logits)
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
