"""The row of Omniglot."""

import dataclasses

import jax.numpy as jnp

from jmeta._catalogue.characters import CharactersTestOptions, references, setting
from jmeta._catalogue.networks import ConvolutionOptions
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import CLASSIFICATION, Problem
from jmeta._types import Batch, Episode, Sampler
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


PROBLEM = Problem(
    "handwritten characters in the split of Vinyals 2016, which needs the data",
    frozenset({CLASSIFICATION}),
    (OmniglotOptions, CharactersTestOptions, ConvolutionOptions),
    setting,
    _samplers,
    _example,
    references,
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
