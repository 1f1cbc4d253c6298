"""The row of Omniglot."""

import dataclasses

import jax.numpy as jnp
import optax

from jmeta._catalogue.networks import ConvolutionOptions, convolution
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import CLASSIFICATION, Problem, Reference, Setting
from jmeta._types import Batch, Episode, Sampler
from jmeta.metrics import accuracy
from jmeta.tasks._omniglot import SIZE, omniglot


@dataclasses.dataclass(frozen=True)
class OmniglotOptions:
    """Where the drawings are, and the size of a training task.

    Attributes:
      path: folder with omniglot28.npz or with the two official zip files; None looks in the folder omniglot of $JMETA_DATA.
      ways: classes per training task.
      shots: support drawings per class of a training task.
      queries: query drawings per class of a training task.
      rotations: whether each character counts as four classes, rotated by quarter turns.
    """

    path: str | None = None
    ways: int = 5
    shots: int = 1
    queries: int = 1
    rotations: bool = True


@dataclasses.dataclass(frozen=True)
class OmniglotTestOptions:
    """The size of a validation or test task.

    Attributes:
      evaluation_ways: classes per task; most methods need that of training, but prototypical_networks does not.
      evaluation_shots: support drawings per class.
      evaluation_queries: query drawings per class.
    """

    evaluation_ways: int = 5
    evaluation_shots: int = 1
    evaluation_queries: int = 15


def _setting(config: Config) -> Setting:
    ways, loss_fn = config.tasks.ways, optax.softmax_cross_entropy_with_integer_labels
    network = convolution(config.network, ways)
    return Setting(CLASSIFICATION, network, loss_fn, accuracy, ways, config.test.evaluation_ways, images=True)


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    tasks, test = config.tasks, config.test
    sizes = {"ways": test.evaluation_ways, "shots": test.evaluation_shots, "queries": test.evaluation_queries}
    rotations, path = tasks.rotations, tasks.path
    train = omniglot(path, "train", ways=tasks.ways, shots=tasks.shots, queries=tasks.queries, rotations=rotations)
    validation, held_out = (omniglot(path, split, **sizes, rotations=rotations) for split in ("validation", "test"))
    return train, validation, held_out


def _example(config: Config) -> Episode:
    ways = config.tasks.ways
    batch = Batch(jnp.zeros((ways, SIZE, SIZE, 1)), jnp.arange(ways))
    return Episode(batch, batch, jnp.ones(ways, bool))


def _references(config: Config) -> dict[str, Reference]:
    return {"guessing": Reference(None, 1 / config.test.evaluation_ways)}


PROBLEM = Problem(
    "handwritten characters in the split of Vinyals 2016, which needs the data",
    frozenset({CLASSIFICATION}),
    (OmniglotOptions, OmniglotTestOptions, ConvolutionOptions),
    _setting,
    _samplers,
    _example,
    _references,
    {
        "queries": 3,
        "tasks_per_step": 16,
        "steps": 8_000,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "steps_per_chunk": 20,
        "validate_every": 400,
        "checkpoint_every": 400,
    },
)
