"""What a row of the catalogue is. Each family of methods and each problem has a file of its own."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jmeta._catalogue.options import Config, Nothing
from jmeta._types import EncoderHead, Episode, Learner, LossFn, Sampler

CLASSIFICATION = "few-shot classification"
REGRESSION = "few-shot regression"
FEW_SHOT = frozenset({CLASSIFICATION, REGRESSION})

Say = Callable[[str], None]


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
