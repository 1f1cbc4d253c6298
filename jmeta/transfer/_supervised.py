"""The ordinary training of one network, from which transfer starts."""

from typing import Any

import jax

from jmeta._options import check_model
from jmeta._presence import with_presence
from jmeta._rows import fill_batch
from jmeta._scoring import score
from jmeta._types import Batch, LossFn, Metrics, Model, Objective, Params
from jmeta._validation import check_rows


def supervised(model: Model, loss_fn: LossFn) -> Objective:
    """Builds the objective of one network on labelled examples: the mean loss of a :class:`jmeta.Batch`.

    >>> import optax
    >>> import jmeta
    >>> from jmeta.nn import MultilayerPerceptron
    >>> model = jmeta.from_linen(MultilayerPerceptron((40, 3)))
    >>> objective = jmeta.transfer.supervised(model, optax.softmax_cross_entropy_with_integer_labels)
    >>> step = jmeta.make_step(objective, optax.adam(1e-3))

    Args:
      model: the network; it is in training mode.
      loss_fn: ``(outputs, targets) -> [n, ...]``.

    Returns:
      An objective on batches, such as those of :func:`jmeta.minibatches`.

    Raises:
      ValueError: if ``model`` is no model; from the objective, if rows do not match.
    """
    check_model("model", model)

    def loss(params: Params, key: jax.Array, batch: Batch, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del step
        check_rows("data", batch)
        batch = fill_batch(batch)
        value = score(loss_fn, model.apply(params, batch.x, key=key, mask=batch.mask), batch)
        return value, with_presence({"loss": value}, batch)

    return loss
