"""What a row of the catalogue is. Each family of methods and each problem has a file of its own."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from jmeta._catalogue.options import Config, Nothing
from jmeta._steps import Step, TrainState
from jmeta._types import Batch, EncoderHead, Episode, Learner, LossFn, Model, Params, Sampler
from jmeta.multitask._multitask import MultitaskModel, Task
from jmeta.tasks._splits import Splits
from jmeta.transfer._alignment import Alignment

CLASSIFICATION = "few-shot classification"
REGRESSION = "few-shot regression"
FEW_SHOT = frozenset({CLASSIFICATION, REGRESSION})
MULTITASK = "multi-task"
DOMAIN_PAIR = "domain pair"

Say = Callable[[str], None]


class Course(NamedTuple):
    """How a run of any kind is trained.

    Attributes:
      state: where it starts.
      step: one training step.
      train: sampler of one step's data.
      validation: what a run is chosen by.
      tasks: how many few-shot tasks a validation has.
    """

    state: TrainState
    step: Step
    train: Sampler
    validation: Callable[[Params], Mapping[str, Any]]
    tasks: int = 0


class Setting(NamedTuple):
    """What a problem asks of a method.

    Attributes:
      kind: of problem, such as ``CLASSIFICATION``.
      network: for the inputs and the outputs of the problem.
      loss_fn: what is minimised.
      metric: what is reported.
      outputs: how many outputs the network has: the classes of a training task, or the numbers to predict.
      test_outputs: likewise for a test task.
      images: whether the inputs are images, whose tasks run one after another on a CPU.
    """

    kind: str
    network: EncoderHead
    loss_fn: LossFn
    metric: LossFn
    outputs: int
    test_outputs: int
    images: bool = False


class Method(NamedTuple):
    """A method that can be named.

    Attributes:
      description: one line.
      solves: the kinds of problem.
      options: a frozen dataclass, whose fields may be dataclasses.
      build: ``(options, setting) -> learner``.
      preset: what differs from the defaults of the options, by name.
      presets: likewise on single problems, by theirs.
      any_ways: whether a test task may have other numbers of classes than a training task.
    """

    description: str
    solves: frozenset[str]
    options: type
    build: Callable[[Any, Setting], Learner]
    preset: Mapping[str, Any] = {}
    presets: Mapping[str, Mapping[str, Any]] = {}
    any_ways: bool = False


class Reference(NamedTuple):
    """A prediction that ignores the support, to compare with: a learner that is measured, what is expected of it, or both."""

    learner: Learner | None
    expected: float | None


class Problem(NamedTuple):
    """A problem that can be named.

    Attributes:
      description: one line.
      kinds: what kinds of problem it may be; several where the data decide.
      options: the classes of the options of the training tasks, of the test tasks and of the network.
      setting: ``config -> setting``.
      samplers: ``config -> (train, validation, test)``, each of one episode.
      example: ``config -> episode`` to initialise from, without any data.
      references: ``config -> predictions that ignore the support``, by name; the first is what predicting nothing gives.
      preset: what differs from the defaults of the options, by name.
      data: the class of what is found in the data.
      prepare: ``(config, say) -> config`` with what was found in the data, before anything else.
    """

    description: str
    kinds: frozenset[str]
    options: tuple[type, type, type]
    setting: Callable[[Config], Setting]
    samplers: Callable[[Config], tuple[Sampler, Sampler, Sampler]]
    example: Callable[[Config], Episode]
    references: Callable[[Config], Mapping[str, Reference]]
    preset: Mapping[str, Any] = {}
    data: type = Nothing
    prepare: Callable[[Config, Say], Config] = lambda config, say: config


class Target(NamedTuple):
    """What is to be predicted in one task of a multi-task problem.

    Attributes:
      task: its head and its loss.
      metrics: what is reported, by name; of the deviation that its standardised targets had.
      constant: ``(targets, weights) -> outputs`` of one row, the best without any input.
    """

    task: Task
    metrics: Callable[[Any], Mapping[str, Callable[..., Any]]]
    constant: Callable[[Any, Any], Any]


class MultitaskSetting(NamedTuple):
    """What a multi-task problem asks of a way of sharing.

    Attributes:
      stages: of the encoder, one after another.
      targets: by the name of the task.
    """

    stages: tuple[Model, ...]
    targets: Mapping[str, Target]


def tasks_of(setting: MultitaskSetting) -> dict[str, Task]:
    """Gives the heads and losses, as a way of sharing takes them."""
    return {name: target.task for name, target in setting.targets.items()}


class Sharing(NamedTuple):
    """A way of sharing, ready to be trained.

    Attributes:
      model: the model.
      tuned: from the optimiser to that of the model, with rates and penalties of its own.
    """

    model: MultitaskModel
    tuned: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda optimizer: optimizer


class MultitaskMethod(NamedTuple):
    """A way of sharing that can be named.

    Attributes:
      description: one line.
      options: a frozen dataclass.
      build: ``(options, setting) -> sharing``.
      preset: what differs from the defaults of the options, by name.
      presets: likewise on single problems, by theirs.
      solves: the kinds of problem.
    """

    description: str
    options: type
    build: Callable[[Any, MultitaskSetting], Sharing]
    preset: Mapping[str, Any] = {}
    presets: Mapping[str, Mapping[str, Any]] = {}
    solves: frozenset[str] = frozenset({MULTITASK})


class MultitaskProblem(NamedTuple):
    """A multi-task problem that can be named.

    Attributes:
      description: one line.
      options: the classes of the options of the training examples, of the test examples and of the network.
      setting: ``config -> setting``.
      splits: ``config -> examples`` to train on, to choose by and to report on.
      example: ``config -> data`` to initialise from, without any data.
      preset: what differs from the defaults of the options, by name.
      resamples: of the bootstrap, fewer where the test examples are many.
      kinds: what kinds of problem it may be.
      data: the class of what is found in the data.
      prepare: ``(config, say) -> config`` with what was found in the data, before anything else.
    """

    description: str
    options: tuple[type, type, type]
    setting: Callable[[Config], MultitaskSetting]
    splits: Callable[[Config], Splits]
    example: Callable[[Config], Batch | Mapping[str, Batch]]
    preset: Mapping[str, Any] = {}
    resamples: int = 1000
    kinds: frozenset[str] = frozenset({MULTITASK})
    data: type = Nothing
    prepare: Callable[[Config, Say], Config] = lambda config, say: config


class Domains(NamedTuple):
    """The examples of two domains.

    Attributes:
      names: of the source and of the target.
      source: to train on.
      validation: of the source too, held out.
      target: to train on, without labels.
      test: of the target, with labels; the same examples as ``target`` where there are no others.
    """

    names: tuple[str, str]
    source: Batch
    validation: Batch
    target: Batch
    test: Batch


class DomainSetting(NamedTuple):
    """What a pair of domains asks of an alignment.

    Attributes:
      network: for the inputs, with a logit for each class.
      classes: of both domains.
      steps: of the training, over which a game of two sides begins.
    """

    network: EncoderHead
    classes: int
    steps: int


class DomainMethod(NamedTuple):
    """A way of drawing two domains together that can be named.

    Attributes:
      description: one line.
      options: a frozen dataclass.
      build: ``(options, setting) -> alignment``.
      preset: what differs from the defaults of the options, by name.
      presets: likewise on single problems, by theirs.
      solves: the kinds of problem.
    """

    description: str
    options: type
    build: Callable[[Any, DomainSetting], Alignment]
    preset: Mapping[str, Any] = {}
    presets: Mapping[str, Mapping[str, Any]] = {}
    solves: frozenset[str] = frozenset({DOMAIN_PAIR})


class DomainProblem(NamedTuple):
    """A pair of domains that can be named.

    Attributes:
      description: one line.
      options: the classes of the options of the training examples, of the test examples and of the network.
      setting: ``config -> setting``.
      domains: ``config -> examples``.
      example: ``config -> data`` to initialise from, without any data.
      preset: what differs from the defaults of the options, by name.
      kinds: what kinds of problem it may be.
      data: the class of what is found in the data.
      prepare: ``(config, say) -> config`` with what was found in the data, before anything else.
    """

    description: str
    options: tuple[type, type, type]
    setting: Callable[[Config], DomainSetting]
    domains: Callable[[Config], Domains]
    example: Callable[[Config], Mapping[str, Batch]]
    preset: Mapping[str, Any] = {}
    kinds: frozenset[str] = frozenset({DOMAIN_PAIR})
    data: type = Nothing
    prepare: Callable[[Config, Say], Config] = lambda config, say: config
