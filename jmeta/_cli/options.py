"""The options of a run, with their units: what ``config.json`` holds and the command line offers.

Names differ across the classes, because the command line has one flat list of them.
"""

import dataclasses
from typing import Any, Literal

Normalization = Literal["group", "batch", "none"]


@dataclasses.dataclass(frozen=True)
class MamlOptions:
    """How MAML, FOMAML and ANIL adapt.

    Attributes:
      inner_rate: step size of the inner gradient descent, in parameter units per unit of gradient.
      inner_steps: inner gradient steps per task in training.
    """

    inner_rate: float = 0.01
    inner_steps: int = 1


@dataclasses.dataclass(frozen=True)
class ReptileOptions:
    """How Reptile adapts.

    Attributes:
      inner_optimizer: what takes the inner steps; adam is without momentum, as in the paper.
      inner_rate: step size of the inner optimiser, in parameter units per unit of (for adam, normalised) gradient.
      inner_steps: inner steps per task in training.
      inner_batch: rows drawn for each inner step; None takes all rows of the task.
    """

    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    inner_rate: float = 0.02
    inner_steps: int = 5
    inner_batch: int | None = None


@dataclasses.dataclass(frozen=True)
class PrototypicalOptions:
    """Prototypical networks have nothing to set but the network."""


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """How a network trained on all tasks at once is fine-tuned to one of them in testing.

    Attributes:
      fine_tuning_rate: step size of the fine-tuning, in parameter units per unit of gradient; None chooses it on validation tasks
        after training.
      fine_tuning_rates: the step sizes to choose from.
    """

    fine_tuning_rate: float | None = None
    fine_tuning_rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1)


@dataclasses.dataclass(frozen=True)
class SinusoidOptions:
    """The size of a training task: amplitude 0.1 to 5, phase 0 to pi, x from -5 to 5.

    Attributes:
      shots: support examples per training task.
      queries: query examples per training task.
    """

    shots: int = 10
    queries: int = 10


@dataclasses.dataclass(frozen=True)
class SinusoidTestOptions:
    """The size of a validation or test task.

    Attributes:
      evaluation_shots: support examples per task.
      evaluation_queries: query examples per task.
    """

    evaluation_shots: int = 5
    evaluation_queries: int = 100


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
      evaluation_ways: classes per task; all learners but prototypical_networks need that of training.
      evaluation_shots: support drawings per class.
      evaluation_queries: query drawings per class.
    """

    evaluation_ways: int = 5
    evaluation_shots: int = 1
    evaluation_queries: int = 15


@dataclasses.dataclass(frozen=True)
class PerceptronOptions:
    """The network for vectors: dense layers with ReLU.

    Attributes:
      hidden: units of each hidden layer.
    """

    hidden: tuple[int, ...] = (40, 40)


@dataclasses.dataclass(frozen=True)
class ConvolutionOptions:
    """The network for images: blocks of 3x3 convolution, normalisation, ReLU and half the size.

    Attributes:
      channels: output channels of each block.
      pooling: halve by 2x2 max-pooling; otherwise by convolutions of stride 2.
      normalization: group has no batch statistics; batch takes those of the current batch, which makes predictions depend on the
        other queries (transductive).
    """

    channels: tuple[int, ...] = (64, 64, 64, 64)
    pooling: bool = False
    normalization: Normalization = "batch"


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How long and how fast to train.

    Attributes:
      steps: training steps.
      tasks_per_step: tasks whose losses are averaged in one step.
      outer_optimizer: what takes the training steps.
      learning_rate: the first step size of the outer optimiser, in parameter units per unit of (for adam, normalised) gradient.
      schedule: how the learning rate goes on; cosine and linear end at zero after the last step.
      seed: what all randomness of the training is drawn from.
      micro_batch: tasks that run at once; None runs images one after another on a CPU, and everything else at once.
      steps_per_chunk: compiled steps between two lines of metrics.
      validate_every: steps between validations.
      validation_episodes: tasks per validation.
      checkpoint_every: steps between checkpoints.
    """

    steps: int = 60_000
    tasks_per_step: int = 25
    outer_optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    seed: int = 0
    micro_batch: int | None = None
    steps_per_chunk: int = 1_000
    validate_every: int = 2_000
    validation_episodes: int = 200
    checkpoint_every: int = 5_000


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """How to test.

    Attributes:
      episodes: number of test tasks.
      evaluation_steps: report after 0, 1, ... up to this many adaptation steps; 0 where adapting is one step.
      evaluation_seed: which test tasks.
      evaluation_batch: validation or test tasks that run at once.
    """

    episodes: int = 1_000
    evaluation_steps: int = 10
    evaluation_seed: int = 0
    evaluation_batch: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run depends on.

    Attributes:
      learner_name: a name of ``jmeta list``.
      tasks_name: a name of ``jmeta list``.
      learner: options of the learner.
      tasks: options of the training tasks.
      test: options of the validation and test tasks.
      network: options of the network.
      training: options of the training.
      evaluation: options of the testing.
      baseline: whether a pretrained network is trained beside it, to compare with.
    """

    learner_name: str
    tasks_name: str
    learner: Any
    tasks: Any
    test: Any
    network: Any
    training: TrainingOptions
    evaluation: EvaluationOptions
    baseline: bool = False
