"""Conditional adversarial domain adaptation (Long, Cao, Wang and Jordan, 2018, 1705.10667), equations 6 and 8.

As in the authors' code the predictions that features are multiplied with have no gradient; unlike there, but as in the
Transfer-Learning-Library, nor have those that the rows are weighted by.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._options import check_model
from jmeta._types import Metrics, Model, Params
from jmeta.transfer._alignment import Alignment, Domain, Strength, at, check_logits, entropies, logits, vectors
from jmeta.transfer._discriminating import domain_loss, init_discriminator
from jmeta.transfer._reversal import reverse_gradient


def cdan(discriminator: Model, *, entropy: bool = True, reversal: Strength = 1.0, strength: Strength = 1.0) -> Alignment:
    r"""Lets no discriminator tell the domains apart by features *and* what the head says of them.

    As :func:`jmeta.transfer.dann`, of the ``d * classes`` products :math:`f_i g_c` of features and the probabilities of the head,
    so that a class is drawn to the same class. With ``entropy`` (CDAN+E) a row counts :math:`1 + e^{-H(g)}`, relative to the others
    of its domain: what the head is sure of counts up to twice as much.

    Args:
      discriminator: ``products [n, d * classes] -> logits``, ``[n]`` or ``[n, 1]``, positive for the source.
      entropy: whether rows are weighted by how sure the head is.
      reversal: how much of its gradient the encoder is given, a number or a schedule.
      strength: of the whole, discriminator included, or a schedule of it.

    Raises:
      ValueError: if the discriminator is no model; from ``init``, if it does not give one logit per row, or outputs are no logits.
    """
    check_model("discriminator", discriminator)

    def init(key: jax.Array, features: Any, outputs: Any) -> Params:
        wide = features.reshape(len(features), -1)
        return init_discriminator(discriminator, key, _products(wide, jax.nn.softmax(check_logits("outputs", outputs))))

    def side(domain: Domain, rate: Any) -> tuple[Any, Any, Any]:
        guesses = jax.lax.stop_gradient(logits(domain))
        counts = 1 + jnp.exp(-entropies(guesses)) if entropy else jnp.ones(len(guesses), guesses.dtype)
        rows = reverse_gradient(_products(vectors(domain), jax.nn.softmax(guesses)), rate)
        return rows, counts * domain.batch.real, domain.batch.mask

    def loss(params: Params, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        rate = at(reversal, step)
        value, metrics = domain_loss(discriminator, params, key, side(source, rate), side(target, rate))
        return at(strength, step) * value, {"distance": value} | metrics

    return Alignment(init, loss)


def _products(features: jax.Array, guesses: jax.Array) -> jax.Array:
    """Multiplies each of the features with each of the probabilities: ``[n, classes * d]``."""
    return (guesses[:, :, None] * features[:, None, :]).reshape(len(features), -1)
