"""Minimum class confusion (Jin, Wang, Long and Wang, 2020, 1912.03699), equations 2 to 7."""

import jax
import jax.numpy as jnp

from jmeta._options import check_positive
from jmeta.transfer._alignment import Alignment, Domain, Strength, alignment_by, entropies, logits, shares


def mcc(*, temperature: float = 2.5, strength: Strength = 1.0) -> Alignment:
    r"""Lets the head not waver between the same two classes again and again, in the target domain.

    .. math:: \lambda \frac{1}{C} \sum_{c \neq c'} \frac{M_{cc'}}{\sum_{c''} M_{cc''}}, \quad M = \sum_i w_i \, p_i p_i^\top

    with probabilities :math:`p_i` at a temperature, and rows that count :math:`w_i = 1 + e^{-H(p_i)}`, without gradient. The source
    is not looked at.

    Args:
      temperature: that of the probabilities.
      strength: :math:`\lambda`, or a schedule of it: ``step -> factor``.

    Raises:
      ValueError: if the temperature is not positive; from the loss, if outputs are no logits.
    """
    check_positive(temperature=temperature)

    def confusion(source: Domain, target: Domain) -> jax.Array:
        del source
        scaled = logits(target) / temperature
        counts = (1 + jnp.exp(-entropies(jax.lax.stop_gradient(scaled)))) * shares(target)
        guesses = jax.nn.softmax(scaled)
        together = (guesses * counts[:, None]).T @ guesses
        # Of a class that nothing is taken for, a floor keeps the derivative of the quotient finite.
        rows = together / jnp.maximum(together.sum(axis=1, keepdims=True), jnp.finfo(together.dtype).eps)
        return jnp.where(jnp.eye(len(rows), dtype=bool), 0, rows).sum() / len(rows)

    return alignment_by(confusion, strength)
