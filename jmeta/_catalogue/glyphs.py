"""The row of made-up characters."""

import dataclasses

import jax.numpy as jnp

from jmeta._catalogue.characters import CharactersTestOptions, references, setting
from jmeta._catalogue.networks import ConvolutionOptions
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import CLASSIFICATION, Problem
from jmeta._types import Batch, Episode, Sampler
from jmeta.tasks._glyphs import glyphs


@dataclasses.dataclass(frozen=True)
class GlyphsOptions:
    """The characters, and the size of a training task.

    Attributes:
      ways: classes per training task.
      shots: support drawings per class of a training task.
      queries: query drawings per class of a training task.
      size: pixels of a side.
      classes: how many characters to train on; None for no end of them, as there always is in testing.
      jitter: how much the drawings of a character differ.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 3
    size: int = 28
    classes: int | None = None
    jitter: float = 1.0


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    tasks, test = config.tasks, config.test
    drawing = {"size": tasks.size, "jitter": tasks.jitter}
    sizes = {"ways": test.evaluation_ways, "shots": test.evaluation_shots, "queries": test.evaluation_queries}
    train = glyphs(ways=tasks.ways, shots=tasks.shots, queries=tasks.queries, classes=tasks.classes, **drawing)
    validation, held_out = (glyphs(**sizes, **drawing, split=split) for split in ("validation", "test"))
    return train, validation, held_out


def _example(config: Config) -> Episode:
    ways, size = config.tasks.ways, config.tasks.size
    batch = Batch(jnp.zeros((ways, size, size, 1)), jnp.arange(ways))
    return Episode(batch, batch, jnp.ones(ways, bool))


PROBLEM = Problem(
    "made-up characters of a few strokes, which need no data",
    frozenset({CLASSIFICATION}),
    (GlyphsOptions, CharactersTestOptions, ConvolutionOptions),
    setting,
    _samplers,
    _example,
    references,
    {
        "channels": (32, 32, 32, 32),
        "tasks_per_step": 4,
        "steps": 2_000,
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "steps_per_chunk": 100,
        "validate_every": 500,
        "checkpoint_every": 500,
    },
)
