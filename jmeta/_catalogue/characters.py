"""What all problems of drawn characters share."""

import dataclasses

import optax

from jmeta._catalogue.networks import convolution
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import CLASSIFICATION, Reference, Setting
from jmeta.metrics import accuracy


@dataclasses.dataclass(frozen=True)
class CharactersTestOptions:
    """The size of a validation or test task.

    Attributes:
      evaluation_ways: classes per task; most methods need that of training, but prototypical_networks does not.
      evaluation_shots: support drawings per class.
      evaluation_queries: query drawings per class.
    """

    evaluation_ways: int = 5
    evaluation_shots: int = 1
    evaluation_queries: int = 15


def setting(config: Config) -> Setting:
    """Makes a convolutional network that tells classes apart."""
    ways, loss_fn = config.tasks.ways, optax.softmax_cross_entropy_with_integer_labels
    network = convolution(config.network, ways)
    return Setting(CLASSIFICATION, network, loss_fn, accuracy, ways, config.test.evaluation_ways, images=True)


def references(config: Config) -> dict[str, Reference]:
    """Says what guessing scores."""
    return {"guessing": Reference(None, 1 / config.test.evaluation_ways)}
