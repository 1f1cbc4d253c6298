"""What a reader of a known set gives: examples to train on, to choose by and to report on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._types import Batch, Sampler
from jmeta.tasks._groups import minibatches


class Scale(NamedTuple):
    """What standardised numbers were before: ``standardised * deviation + mean``.

    Attributes:
      mean: of the training rows; a tree like one row.
      deviation: their standard deviation, by which an error is multiplied to be in the original units; 1 where it is 0.
    """

    mean: Any
    deviation: Any


class Splits(NamedTuple):
    """A known set of data, no example of which is in two parts.

    Attributes:
      train: draws what a training step takes: a ``Batch``, or ``{name: Batch}`` for tasks with inputs of their own.
      validation: all examples to choose by, as :func:`jmeta.evaluate_tasks` takes them; None where none are held out.
      test: all examples to report on.
      inputs: the scale of ``x``; None where it is as it was.
      targets: the scale of ``y``.
    """

    train: Sampler
    validation: Any
    test: Any
    inputs: Scale | None = None
    targets: Scale | None = None


def check_share(name: str, share: Any) -> None:
    """Checks a share of the training examples.

    Raises:
      ValueError: if it is not at least 0 and below 1.
    """
    if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= share < 1:
        raise ValueError(f"{name} must be a share of at least 0 and below 1; got {share!r}.")


def divide(random: np.random.Generator, units: Sequence[Any] | np.ndarray, test: float, validation: float) -> list[np.ndarray]:
    """Draws units for training, validation and test, each sorted.

    The units of the test are the same whatever the share of ``validation``, which is one of the others.
    """
    drawn = random.permutation(np.asarray(units))
    of_test = round(test * len(drawn))
    of_validation = round(validation * (len(drawn) - of_test))
    parts = np.split(drawn, [of_test, of_test + of_validation])
    return [np.sort(part) for part in (parts[2], parts[1], parts[0])]


def scale_of(rows: Any) -> Scale:
    """Gives mean and standard deviation of each column of leaves ``[n, ...]``."""

    def deviation(leaf: np.ndarray) -> np.ndarray:
        found = leaf.std(axis=0)
        return np.where(found > 0, found, 1)

    return Scale(jax.tree.map(lambda leaf: leaf.mean(axis=0), rows), jax.tree.map(deviation, rows))


def standardised(rows: Any, scale: Scale) -> Any:
    return jax.tree.map(lambda leaf, mean, deviation: (leaf - mean) / deviation, rows, scale.mean, scale.deviation)


def batches_of(batch: Batch, size: int | None) -> Sampler:
    """Draws mini-batches; all examples each time where there is no size."""
    if size is not None:
        return minibatches(batch.x, batch.y, size, weights=batch.weights)
    return Sampler(jax.tree.map(jnp.asarray, batch), everything)


def everything(data: Any, key: jax.Array) -> Any:
    del key
    return data
