"""The rows of tables with several tasks: schools, patients, the joints of an arm."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jmeta._catalogue.networks import PerceptronOptions
from jmeta._catalogue.options import Config, Nothing
from jmeta._catalogue.rows import MultitaskProblem, MultitaskSetting
from jmeta._catalogue.stages import dense_head, dense_stages
from jmeta._catalogue.targets import numbers
from jmeta._types import Batch
from jmeta.tasks._parkinsons import parkinsons
from jmeta.tasks._sarcos import sarcos
from jmeta.tasks._school import school
from jmeta.tasks._splits import Splits

SCHOOLS = tuple(f"{number:03}" for number in range(139))
PATIENTS = tuple(f"{number:02}" for number in range(1, 43))
TORQUES = tuple(f"torque_{number}" for number in range(1, 8))


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Where the table is, and the size of a training batch.

    Attributes:
      path: the file or its folder; None looks in the folder of its name of $JMETA_DATA.
      examples: rows of each task in a training step; None takes all.
      validation_share: which share of the rows that are not for the test is held out for validation.
      split_seed: what the split of the rows is drawn from.
    """

    path: str | None = None
    examples: int | None = None
    validation_share: float = 0.2
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class SmallNetwork:
    """The network of a task with few rows."""

    vectors: PerceptronOptions = dataclasses.field(default_factory=lambda: PerceptronOptions((16,)))


@dataclasses.dataclass(frozen=True)
class LargeNetwork:
    """The network of a task with many rows."""

    vectors: PerceptronOptions = dataclasses.field(default_factory=lambda: PerceptronOptions((128, 128)))


def _problem(
    description: str,
    read: Callable[..., Splits],
    names: tuple[str, ...],
    sizes: tuple[int, int],
    options: tuple[type, type],
    preset: Mapping[str, Any],
    *,
    one_input: bool = False,
) -> MultitaskProblem:
    """Makes the row of a table with so many inputs and outputs of each task, on one input or on rows of its own."""
    inputs, outputs = sizes

    def setting(config: Config) -> MultitaskSetting:
        return MultitaskSetting(dense_stages(config.network.vectors), {name: numbers(dense_head(outputs)) for name in names})

    def splits(config: Config) -> Splits:
        tasks = config.tasks
        return read(tasks.path, size=tasks.examples, validation=tasks.validation_share, seed=tasks.split_seed)

    def example(config: Config) -> Batch | Mapping[str, Batch]:
        del config
        batch = Batch(np.zeros((1, inputs), np.float32), None)
        return batch if one_input else dict.fromkeys(names, batch)

    return MultitaskProblem(description, (options[0], Nothing, options[1]), setting, splits, example, preset)


PROBLEMS = {
    "school": _problem(
        "exam scores of pupils of 139 schools, each a task, which needs the data",
        school,
        SCHOOLS,
        (27, 1),
        (TableOptions, SmallNetwork),
        {"steps": 500, "learning_rate": 1e-2, "validate_every": 20, "steps_per_chunk": 20},
    ),
    "sarcos": _problem(
        "the seven torques of a moving arm, which needs the data",
        sarcos,
        TORQUES,
        (21, 1),
        (TableOptions, LargeNetwork),
        {"examples": 256, "steps": 5_000, "learning_rate": 3e-3},
        one_input=True,
    ),
    "parkinsons": _problem(
        "two scores of the disease from the voices of 42 patients, each a task, which needs the data",
        parkinsons,
        PATIENTS,
        (19, 2),
        (TableOptions, SmallNetwork),
        {"steps": 1_000, "learning_rate": 1e-2, "validate_every": 50, "steps_per_chunk": 50},
    ),
}
