"""The row of made-up characters."""

import dataclasses

import jax.numpy as jnp
import optax

from jmeta._catalogue.networks import ConvolutionOptions, convolution
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import CLASSIFICATION, Problem, Reference, Setting
from jmeta._types import Batch, Episode, Sampler
from jmeta.metrics import accuracy
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


@dataclasses.dataclass(frozen=True)
class GlyphsTestOptions:
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
    drawing = {"size": tasks.size, "jitter": tasks.jitter}
    sizes = {"ways": test.evaluation_ways, "shots": test.evaluation_shots, "queries": test.evaluation_queries}
    train = glyphs(ways=tasks.ways, shots=tasks.shots, queries=tasks.queries, classes=tasks.classes, **drawing)
    validation, held_out = (glyphs(**sizes, **drawing, split=split) for split in ("validation", "test"))
    return train, validation, held_out


def _example(config: Config) -> Episode:
    ways, size = config.tasks.ways, config.tasks.size
    batch = Batch(jnp.zeros((ways, size, size, 1)), jnp.arange(ways))
    return Episode(batch, batch, jnp.ones(ways, bool))


def _references(config: Config) -> dict[str, Reference]:
    return {"guessing": Reference(None, 1 / config.test.evaluation_ways)}


PROBLEM = Problem(
    "made-up characters of a few strokes, which need no data",
    frozenset({CLASSIFICATION}),
    (GlyphsOptions, GlyphsTestOptions, ConvolutionOptions),
    _setting,
    _samplers,
    _example,
    _references,
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
