"""The options that every run has, with their units: what ``config.json`` holds and the command line offers.

Names differ across all classes of options of a run, because the command line has one flat list of them. Options that several rows
share are parts, put together as fields of a class; no class extends another.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Nothing to set."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How long and how fast to train.

    Attributes:
      steps: training steps.
      tasks_per_step: tasks whose losses are averaged in one step.
      outer_optimizer: what takes the training steps.
      learning_rate: the first step size of the outer optimiser, in parameter units per unit of (for adam, normalised) gradient.
      schedule: how the learning rate goes on; cosine and linear end at zero after the last step.
      clip_norm: the largest norm of the gradient that the outer optimiser sees; None leaves it as it is.
      seed: what all randomness of the training is drawn from.
      micro_batch: tasks that run at once; None runs images one after another on a CPU, and everything else at once.
      steps_per_chunk: compiled steps between two lines of metrics.
      validate_every: steps between validations.
      validation_episodes: tasks per validation; of a finite list at most all of them.
      checkpoint_every: steps between checkpoints.
    """

    steps: int = 60_000
    tasks_per_step: int = 25
    outer_optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    clip_norm: float | None = None
    seed: int = 0
    micro_batch: int | None = None
    steps_per_chunk: int = 1_000
    validate_every: int = 2_000
    validation_episodes: int = 200
    checkpoint_every: int = 5_000


Combining = Literal[
    "equal_weighting",
    "uncertainty_weighting",
    "dynamic_weight_average",
    "famo",
    "geometric_loss_strategy",
    "imtl_l",
    "random_weighting",
    "smooth_tchebycheff",
    "aligned_mtl",
    "cagrad",
    "dual_projection",
    "fairgrad",
    "graddrop",
    "gradvac",
    "imtl_g",
    "mgda",
    "nash_mtl",
    "pcgrad",
    "upgrad",
]


@dataclasses.dataclass(frozen=True)
class MultitaskTrainingOptions:
    """How long and how fast to train several tasks.

    Attributes:
      steps: training steps.
      combining: what becomes of the tasks' losses or gradients; see jmeta list. Weightings take one backward pass, aggregators one
        for each task.
      combining_features: whether an aggregator looks at the gradients of the shared features, which takes one backward pass through
        the encoder; not where each task has inputs or an encoder of its own.
      outer_optimizer: what takes the training steps.
      learning_rate: the first step size, in parameter units per unit of (for adam, normalised) gradient.
      schedule: how the learning rate goes on; cosine and linear end at zero after the last step.
      clip_norm: the largest norm of the gradient that the optimiser sees; None leaves it as it is.
      seed: what all randomness of the training is drawn from.
      steps_per_chunk: compiled steps between two lines of metrics.
      validate_every: steps between validations.
      checkpoint_every: steps between checkpoints.
    """

    steps: int = 2_000
    combining: Combining = "equal_weighting"
    combining_features: bool = False
    outer_optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    clip_norm: float | None = None
    seed: int = 0
    steps_per_chunk: int = 100
    validate_every: int = 500
    checkpoint_every: int = 500


@dataclasses.dataclass(frozen=True)
class MultitaskEvaluationOptions:
    """How to test several tasks.

    Attributes:
      evaluation_seed: of the bootstrap, and where test examples are drawn, which.
      evaluation_batch: validation or test examples that run at once.
    """

    evaluation_seed: int = 0
    evaluation_batch: int = 100


@dataclasses.dataclass(frozen=True)
class DomainTrainingOptions:
    """How long and how fast to train on two domains, and what chooses the step that is kept.

    Attributes:
      steps: training steps.
      choose_by: the score, without target labels, by which the kept step is chosen: the loss on held-out examples of the source,
        the same weighted by what they count in the target (DEV), or the entropy of the predictions in the target.
      judged: examples of the source, and as many of the target, that a validation looks at, at most.
      outer_optimizer: what takes the training steps.
      learning_rate: the first step size, in parameter units per unit of (for adam, normalised) gradient.
      schedule: how the learning rate goes on; cosine and linear end at zero after the last step.
      clip_norm: the largest norm of the gradient that the optimiser sees; None leaves it as it is.
      seed: what all randomness of the training is drawn from.
      steps_per_chunk: compiled steps between two lines of metrics.
      validate_every: steps between validations.
      checkpoint_every: steps between checkpoints.
    """

    steps: int = 1_000
    choose_by: Literal["source", "deep_embedded", "entropy"] = "source"
    judged: int = 2_000
    outer_optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    clip_norm: float | None = None
    seed: int = 0
    steps_per_chunk: int = 100
    validate_every: int = 100
    checkpoint_every: int = 500


@dataclasses.dataclass(frozen=True)
class DomainEvaluationOptions:
    """How to test on a target domain.

    Attributes:
      evaluation_seed: of the bootstrap, and where test examples are drawn, which.
      evaluation_batch: validation or test examples that run at once.
    """

    evaluation_seed: int = 0
    evaluation_batch: int = 500


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """How to test.

    Attributes:
      episodes: number of test tasks; None takes 1,000, or every task of a finite list once.
      evaluation_steps: report after 0, 1, ... up to this many adaptation steps; 0 where adapting is one step.
      evaluation_seed: which test tasks.
      evaluation_batch: validation or test tasks that run at once.
    """

    episodes: int | None = None
    evaluation_steps: int = 10
    evaluation_seed: int = 0
    evaluation_batch: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run depends on.

    Attributes:
      method_name: a method of ``jmeta list``.
      problem_name: a problem of ``jmeta list``.
      method: options of the method.
      tasks: options of the training tasks.
      test: options of the validation and test tasks.
      network: options of the network.
      training: options of the training, of the kind of problem.
      evaluation: options of the testing, likewise.
      baseline: whether a pretrained network is trained beside it, to compare with.
      data: what has been found in the data, so that a run can be built without it.
    """

    method_name: str
    problem_name: str
    method: Any
    tasks: Any
    test: Any
    network: Any
    training: Any
    evaluation: Any
    baseline: bool = False
    data: Any = dataclasses.field(default_factory=Nothing)


SECTIONS = ("method", "tasks", "test", "network", "training", "evaluation")


def values_of(options: Any) -> Iterator[tuple[str, Any]]:
    """Gives the names and values of options, those of their parts included."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from values_of(value)
        else:
            yield field.name, value


def with_values(config: Config, **values: Any) -> Config:
    """Sets options by name, wherever they are.

    Raises:
      ValueError: if the run has no option of a name.
    """
    sections = {section: getattr(config, section) for section in SECTIONS}
    if unknown := values.keys() - {name for section in sections.values() for name, _ in values_of(section)}:
        raise ValueError(f"{config.method_name} on {config.problem_name} has no option named {', '.join(sorted(unknown))}.")
    return dataclasses.replace(config, **{name: _with_values(section, values) for name, section in sections.items()})


def _with_values(options: Any, values: dict[str, Any]) -> Any:
    changed = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = _with_values(value, values)
        elif field.name in values:
            changed[field.name] = values[field.name]
    return dataclasses.replace(options, **changed)
