"""The rows of known sets of pictures with several tasks: two digits over one another, and rooms."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jmeta._catalogue.options import Config, Nothing
from jmeta._catalogue.rows import MultitaskProblem, MultitaskSetting
from jmeta._catalogue.stages import LeNetOptions, StagesOptions, convolutional_stages, dense_head, lenet_stages, pixel_head
from jmeta._catalogue.targets import depth_map, label, label_map
from jmeta._types import Batch, Sampler
from jmeta.tasks._multi_mnist import multi_mnist
from jmeta.tasks._nyuv2 import nyuv2
from jmeta.tasks._splits import Splits

DIGITS, ROOM_CLASSES, ROOM_TASKS = 10, 13, ("depth", "segmentation")


@dataclasses.dataclass(frozen=True)
class MultiMnistOptions:
    """Where the digits are, and the size of a training batch.

    Attributes:
      path: folder with the four official files or with mnist.npz; None looks in the folder mnist of $JMETA_DATA.
      examples: images per training step.
      held_out: training images for validation.
      split_seed: what the pairs of digits, and those held out, are drawn from.
    """

    path: str | None = None
    examples: int = 256
    held_out: int = 10_000
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class RoomsOptions:
    """Where the rooms are, and the size of a training batch.

    Attributes:
      path: folder with nyuv2_96x128_train.npz and nyuv2_96x128_test.npz, or with train and val of MTAN's data; None looks in the
        folder nyuv2 of $JMETA_DATA.
      examples: images per training step.
      held_out: training images for validation.
      augment: zoom into training images, and mirror half of them.
      split_seed: which images are held out.
    """

    path: str | None = None
    examples: int = 8
    held_out: int = 95
    augment: bool = True
    split_seed: int = 0


def _two_digits(config: Config) -> MultitaskSetting:
    def head() -> Any:
        return dense_head(DIGITS, hidden=(config.network.hidden_units,))

    return MultitaskSetting(lenet_stages(config.network), {name: label(head(), DIGITS) for name in ("left", "right")})


def _digits(config: Config) -> Splits:
    tasks = config.tasks
    return multi_mnist(tasks.path, size=tasks.examples, validation=tasks.held_out, seed=tasks.split_seed)


def _rooms_setting(config: Config) -> MultitaskSetting:
    options = config.network
    size = {"hidden": options.head_channels, "scale": 2**options.halvings}
    targets = {
        "depth": depth_map(pixel_head(1, **size)),
        "segmentation": label_map(pixel_head(ROOM_CLASSES, **size), ROOM_CLASSES),
    }
    return MultitaskSetting(convolutional_stages(options), targets)


def _rooms(config: Config) -> Splits:
    tasks = config.tasks
    splits = nyuv2(tasks.path, size=tasks.examples, validation=tasks.held_out, augment=tasks.augment, seed=tasks.split_seed)
    train, parts = splits.train, (splits.validation, splits.test)

    def sample(data: Any, key: jax.Array) -> Batch:
        return _of_two_tasks(train.sample(data, key))

    validation, test = (None if part is None else _of_two_tasks(part) for part in parts)
    return splits._replace(train=Sampler(train.data, sample), validation=validation, test=test)


def _of_two_tasks(batch: Batch) -> Batch:
    """Leaves out normals, which not all files have."""
    y, weights = ({name: part[name] for name in ROOM_TASKS} for part in (batch.y, batch.weights))
    return batch._replace(y=y, weights=weights)


def _image(height: int, width: int, channels: int) -> Any:
    return lambda config: Batch(np.zeros((1, height, width, channels), np.float32), None)


PROBLEMS = {
    "multi_mnist": MultitaskProblem(
        "two digits over one another, which needs MNIST (Sabour 2017, Sener 2018)",
        (MultiMnistOptions, Nothing, LeNetOptions),
        _two_digits,
        _digits,
        _image(28, 28, 1),
        {"steps": 10_000, "learning_rate": 2e-3, "evaluation_batch": 500},
    ),
    "nyuv2": MultitaskProblem(
        "rooms, with a class of 13 and a depth for each pixel, which needs the data (Silberman 2012)",
        (RoomsOptions, Nothing, StagesOptions),
        _rooms_setting,
        _rooms,
        _image(96, 128, 3),
        {
            **{"channels": (32, 64, 64, 64), "examples": 8, "steps": 2_000, "evaluation_batch": 16},
            **{"steps_per_chunk": 50, "validate_every": 200, "checkpoint_every": 200},
        },
    ),
}
