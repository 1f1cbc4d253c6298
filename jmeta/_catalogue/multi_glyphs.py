"""The row of two made-up characters over one another: four heterogeneous tasks on one image."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import MultitaskProblem, MultitaskSetting, Target
from jmeta._catalogue.stages import StagesOptions, convolutional_stages, dense_head, pixel_head
from jmeta._catalogue.targets import label, label_map, measured
from jmeta._types import Batch
from jmeta.metrics import squared_error
from jmeta.tasks._multi_glyphs import multi_glyphs
from jmeta.tasks._splits import Splits

SIZE, MASK_CLASSES = 28, 3


@dataclasses.dataclass(frozen=True)
class MultiGlyphsOptions:
    """The characters, and the size of a training batch.

    Attributes:
      examples: images per training step.
      classes: characters of the alphabet.
      jitter: how much the drawings of a character differ.
    """

    examples: int = 64
    classes: int = 10
    jitter: float = 1.0


@dataclasses.dataclass(frozen=True)
class MultiGlyphsTestOptions:
    """The size of the test.

    Attributes:
      evaluation_examples: images of the validation, and as many of the test.
    """

    evaluation_examples: int = 2_000


def _setting(config: Config) -> MultitaskSetting:
    options, classes = config.network, config.tasks.classes
    hidden, scale = options.head_channels, 2**options.halvings

    def dense(outputs: int) -> Any:
        return dense_head(outputs, hidden=(hidden,))

    targets: Mapping[str, Target] = {
        "first": label(dense(classes), classes),
        "second": label(dense(classes), classes),
        "rotation": measured(dense(2), squared_error, lambda deviation: {"angular error (degrees)": angular_error}),
        "mask": label_map(pixel_head(MASK_CLASSES, hidden=hidden, scale=scale), MASK_CLASSES),
    }
    return MultitaskSetting(convolutional_stages(options), targets)


def angular_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Gives the angle between directions ``[n, 2]``, in degrees ``[n]``."""
    across = outputs[..., 0] * targets[..., 1] - outputs[..., 1] * targets[..., 0]
    return jnp.rad2deg(jnp.abs(jnp.atan2(across, (outputs * targets).sum(axis=-1))))


def _splits(config: Config) -> Splits:
    drawing = {"classes": config.tasks.classes, "size": SIZE, "jitter": config.tasks.jitter}
    train = multi_glyphs(examples=config.tasks.examples, **drawing)
    count = config.test.evaluation_examples
    validation, test = (multi_glyphs(examples=count, **drawing, split=split) for split in ("validation", "test"))
    # Which images of the validation is no option: it is what a run is chosen by.
    drawn = [
        jax.jit(part.sample)(part.data, jax.random.key(seed))
        for part, seed in ((validation, 0), (test, config.evaluation.evaluation_seed))
    ]
    return Splits(train, *jax.device_get(drawn))


def _example(config: Config) -> Batch:
    del config
    return Batch(np.zeros((1, SIZE, SIZE, 1), np.float32), None)


PROBLEM = MultitaskProblem(
    "two made-up characters over one another, with their classes, rotation and mask, which need no data",
    (MultiGlyphsOptions, MultiGlyphsTestOptions, StagesOptions),
    _setting,
    _splits,
    _example,
    {"steps": 3_000, "learning_rate": 2e-3},
)
