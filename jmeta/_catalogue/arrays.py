"""The row of a user's own examples, whose file decides what kind of problem it is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta._catalogue.networks import ConvolutionOptions, PerceptronOptions, between_units, convolution, perceptron
from jmeta._catalogue.npz import SPLITS, Table, read_table
from jmeta._catalogue.options import Config
from jmeta._catalogue.references import ignoring_the_task
from jmeta._catalogue.rows import CLASSIFICATION, FEW_SHOT, REGRESSION, Problem, Reference, Say, Setting
from jmeta._catalogue.units import divide, episodes_of_units
from jmeta._types import Batch, EncoderHead, Episode, Sampler
from jmeta.metrics import accuracy, squared_error

MOST_WAYS, MOST_QUERIES = 5, 15
IMAGE = 3  # Axes of an example that is an image.


@dataclasses.dataclass(frozen=True)
class ArraysOptions:
    """Where the examples are, and the size of a training task.

    The file holds x [n, ...]: images [n, height, width, channels] get a convolutional network, everything else a perceptron.
    It holds y: labels [n] are whole numbers or text, and real numbers [n] or [n, outputs] are to be predicted.
    It may hold groups [n]: then each task is a group of rows, which real numbers need; otherwise each task is of a few classes.
    It may hold split, which says train, validation or test for each row, or for each class or group in sorted order.

    Attributes:
      path: an .npz file, as numpy.savez writes it; it must be given.
      ways: classes per training task; None takes 5, or fewer where a split has fewer. With groups the classes are the labels.
      shots: support rows per training task, of each class where there are classes.
      queries: likewise for the query; None takes all that are left in a group.
      standardize: give the network x, unless it holds bytes, and real-valued y with mean 0 and deviation 1 on training rows.
      split_seed: what the split of the classes or groups is drawn from, where the file has none.
    """

    path: str | None = None
    ways: int | None = None
    shots: int = 5
    queries: int | None = 10
    standardize: bool = True
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class ArraysTestOptions:
    """The size of a validation or test task.

    Attributes:
      evaluation_ways: classes per task; None takes as many as in training, which most methods need.
      evaluation_shots: support rows, of each class where there are classes.
      evaluation_queries: query rows; None takes all that are left in a group, without groups as many as all classes have, at most
        15.
    """

    evaluation_ways: int | None = None
    evaluation_shots: int = 5
    evaluation_queries: int | None = None


@dataclasses.dataclass(frozen=True)
class ArraysNetworkOptions:
    """The network, for vectors or for images."""

    vectors: PerceptronOptions = dataclasses.field(default_factory=lambda: PerceptronOptions((64, 64)))
    images: ConvolutionOptions = dataclasses.field(default_factory=lambda: ConvolutionOptions(normalization="group"))


@dataclasses.dataclass(frozen=True)
class ArraysData:
    """What has been found in the file, so that a run can be loaded without it.

    Attributes:
      kind: of problem.
      grouped: whether each task is a group of rows.
      shape: of an example.
      outputs: numbers to predict, or labels.
      input_mean: of each number of an example, of each channel of an image; empty where x is taken as it is.
      input_deviation: likewise.
      output_mean: of each number to predict.
      output_deviation: likewise; empty where y is taken as it is.
      digest: SHA-256 of the file.
    """

    kind: str = ""
    grouped: bool = False
    shape: tuple[int, ...] = ()
    outputs: int = 0
    input_mean: tuple[float, ...] = ()
    input_deviation: tuple[float, ...] = ()
    output_mean: tuple[float, ...] = ()
    output_deviation: tuple[float, ...] = ()
    digest: str = ""


def _prepare(config: Config, say: Say) -> Config:
    path, tasks, test = config.tasks.path, config.tasks, config.test
    if path is None:
        raise ValueError("path must name an .npz file for arrays; got None.")
    table = read_table(path)
    split = divide(path, table, tasks.split_seed)
    data = _found(table, split, tasks.standardize)
    if table.grouped:
        if (given := tasks.ways or test.evaluation_ways) is not None:
            raise ValueError(f"ways must not be given where {path} has groups, whose classes are the labels; got {given}.")
    else:
        fewest = min(int((split == name).sum()) for name in SPLITS)
        ways = min(MOST_WAYS, fewest) if tasks.ways is None else tasks.ways
        queries = test.evaluation_queries or _queries_left(table, split, test.evaluation_shots)
        tasks = dataclasses.replace(tasks, ways=ways)
        test = dataclasses.replace(test, evaluation_ways=test.evaluation_ways or ways, evaluation_queries=queries)
    for sentence in _sentences(path, table, split, data, tasks):
        say(sentence)
    return dataclasses.replace(config, tasks=tasks, test=test, data=data)


def _found(table: Table, split: np.ndarray, standardize: bool) -> ArraysData:
    training = (split == SPLITS[0])[table.unit]
    kind, outputs = (CLASSIFICATION, len(table.labels)) if table.labels is not None else (REGRESSION, table.y.shape[1])
    inputs, targets = ((), ()), ((), ())
    if standardize and table.x.dtype != np.uint8:
        inputs = _moments(table.x[training])
    if table.labels is None:
        mean, deviation = _moments(table.y[training])
        targets = (mean, deviation if standardize else ())
    return ArraysData(kind, table.grouped, table.x.shape[1:], outputs, *inputs, *targets, table.digest)


def _moments(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gives mean and deviation of each number of a row, of each channel of an image; 1 where all are alike."""
    axes = (0, 1, 2) if values.ndim == 1 + IMAGE else (0,)
    mean, deviation = values.mean(axes, np.float64), values.std(axes, np.float64)
    # Below the resolution of float32 the values are one value.
    alike = deviation <= np.finfo(np.float32).eps * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    return tuple(mean.ravel().tolist()), tuple(np.where(alike, 1, deviation).ravel().tolist())


def _queries_left(table: Table, split: np.ndarray, shots: int) -> int:
    held_out = np.bincount(table.unit)[split != SPLITS[0]]
    return max(1, min(MOST_QUERIES, int(held_out.min()) - shots))


def _sentences(path: str, table: Table, split: np.ndarray, data: ArraysData, tasks: ArraysOptions) -> list[str]:
    units = f"{len(table.units):,} {'groups, one task each' if table.grouped else 'classes'}"
    holds = f"{len(table.x):,} rows of {' x '.join(map(str, data.shape))} numbers in {units}"
    labels = f" among {data.outputs} labels" if table.grouped and table.labels is not None else ""
    found = [f"{path}: {holds}: {data.kind}{labels}."]
    if table.others:
        found.append(f"left out of {path}: {', '.join(table.others)}.")
    counts = ", ".join(f"{int((split == name).sum())} {name}" for name in SPLITS)
    drawn = f"; the file holds no split, so it is drawn by split_seed {tasks.split_seed}" if table.split is None else ""
    return [*found, f"{'groups' if table.grouped else 'classes'} by split: {counts}{drawn}."]


def _setting(config: Config) -> Setting:
    data = _known(config)
    classes = data.kind == CLASSIFICATION
    outputs = config.tasks.ways if classes and not data.grouped else data.outputs
    tested = config.test.evaluation_ways if classes and not data.grouped else outputs
    images = len(data.shape) == IMAGE
    network = convolution(config.network.images, outputs) if images else perceptron(config.network.vectors, outputs)
    network = _standardised(network, data)
    if classes:
        loss_fn = optax.softmax_cross_entropy_with_integer_labels
        return Setting(CLASSIFICATION, network, loss_fn, accuracy, outputs, tested, images)
    return Setting(REGRESSION, network, _relative_error(data), squared_error, outputs, tested, images)


def _standardised(network: EncoderHead, data: ArraysData) -> EncoderHead:
    axes = (1, 1, -1) if len(data.shape) == IMAGE else data.shape
    inputs = [np.reshape(part, axes) for part in (data.input_mean, data.input_deviation)] if data.input_mean else None
    return between_units(network, inputs, [data.output_mean, data.output_deviation] if data.output_deviation else None)


def _relative_error(data: ArraysData) -> Any:
    """Makes the loss of real numbers: the squared error over their variance, so that one step size serves all units."""
    if not data.output_deviation:
        return squared_error
    variance = np.square(np.asarray(data.output_deviation, np.float32))[None]

    def relative_squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return squared_error(outputs, targets) / variance

    return relative_squared_error


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    path, tasks, test = config.tasks.path, config.tasks, config.test
    table = read_table(path)
    if table.digest != _known(config).digest:
        raise ValueError(f"file {path} is not the one that the run began with; put that one back, or begin another run.")
    split = divide(path, table, tasks.split_seed)
    train = {"ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries}
    held_out = {"ways": test.evaluation_ways, "shots": test.evaluation_shots, "queries": test.evaluation_queries}
    return (
        episodes_of_units(path, table, split == "train", **train),
        episodes_of_units(path, table, split == "validation", **held_out),
        episodes_of_units(path, table, split == "test", **held_out),
    )


def _example(config: Config) -> Episode:
    data = _known(config)
    if data.kind == REGRESSION:
        batch = Batch(jnp.zeros((1, *data.shape)), jnp.zeros((1, data.outputs)))
        return Episode(batch, batch)
    ways = _setting(config).outputs
    batch = Batch(jnp.zeros((ways, *data.shape)), jnp.arange(ways))
    return Episode(batch, batch, jnp.ones(ways, bool))


def _references(config: Config) -> dict[str, Reference]:
    data = _known(config)
    if data.kind == CLASSIFICATION:
        return {"guessing": Reference(None, 1 / _setting(config).test_outputs)}
    mean = np.asarray(data.output_mean, np.float32)[None]
    return {"mean of the training rows": Reference(ignoring_the_task(lambda x: jnp.tile(mean, (len(x), 1))), None)}


def _known(config: Config) -> ArraysData:
    if not config.data.kind:
        raise ValueError("path must be looked at before a run of arrays is built; got options alone.")
    return config.data


PROBLEM = Problem(
    "your own examples, --path FILE.npz",
    FEW_SHOT,
    (ArraysOptions, ArraysTestOptions, ArraysNetworkOptions),
    _setting,
    _samplers,
    _example,
    _references,
    {
        **{"steps": 5_000, "tasks_per_step": 16, "schedule": "cosine"},
        **{"steps_per_chunk": 100, "validate_every": 500, "checkpoint_every": 500, "evaluation_batch": 10},
    },
    ArraysData,
    _prepare,
)
