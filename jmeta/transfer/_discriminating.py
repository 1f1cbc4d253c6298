"""What adversarial alignments share: a model that tells the domains of rows apart, and its loss."""

from typing import Any

import jax

from jmeta._composition import fitted
from jmeta._rows import mean_over_rows
from jmeta._sentences import kinds
from jmeta._types import Metrics, Model, Params


def init_discriminator(discriminator: Model, key: jax.Array, rows: Any) -> Params:
    """Makes the parameters of a discriminator of rows.

    Raises:
      ValueError: if it does not take them, or gives anything but one logit per row.
    """
    params, outputs = fitted("discriminator", "it is to tell apart", discriminator, key, rows)
    count = len(rows)
    if not hasattr(outputs, "shape") or outputs.shape not in ((count,), (count, 1)):
        raise ValueError(f"discriminator must give one logit per row, [n] or [n, 1]; got {kinds(outputs)} for {count} rows.")
    return params


def domain_loss(
    discriminator: Model, params: Params, key: jax.Array, source: tuple[Any, Any, Any], target: tuple[Any, Any, Any]
) -> tuple[jax.Array, Metrics]:
    """Averages the cross-entropy of a discriminator over the two domains, each counting a half whatever its size.

    Args:
      discriminator: rows to a logit, positive for the source.
      params: its parameters.
      key: for its randomness.
      source: its rows, what each counts and their mask.
      target: likewise.

    Returns:
      The loss, and the share of both domains that it tells apart, which is 0.5 where they are alike.
    """
    losses, right = [], []
    for (rows, counts, mask), sign, part in zip((source, target), (1, -1), jax.random.split(key), strict=True):
        logits = sign * discriminator.apply(params, rows, key=part, mask=mask).reshape(len(rows))
        losses.append(mean_over_rows(-jax.nn.log_sigmoid(logits.astype(rows.dtype)), counts))
        right.append(mean_over_rows((logits > 0).astype(rows.dtype), mask))
    return (losses[0] + losses[1]) / 2, {"domain_accuracy": (right[0] + right[1]) / 2}
