"""The one table of names: learners, tasks, and the settings they start from."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta._adjoints import first_order
from jmeta._cli import options
from jmeta._cli.options import Config, EvaluationOptions, TrainingOptions
from jmeta._types import Batch, EncoderHead, Episode, Learner, LossFn, Sampler
from jmeta.metric_based._prototypical import prototypical_networks
from jmeta.metrics import accuracy, squared_error
from jmeta.models import compose, from_linen
from jmeta.optimization_based._anil import anil
from jmeta.optimization_based._maml import maml
from jmeta.optimization_based._reptile import reptile
from jmeta.tasks._omniglot import SIZE, omniglot
from jmeta.tasks._sinusoid import sinusoid


class LearnerEntry(NamedTuple):
    """A learner that can be named; ``build(options, network, loss_fn, ways)``."""

    description: str
    options: type
    build: Callable[[Any, EncoderHead, LossFn, int], Learner]


class TasksEntry(NamedTuple):
    """A set of tasks that can be named.

    Attributes:
      description: one line.
      options: the classes of the options of the training tasks, of the test tasks and of the network.
      loss_fn: what learners minimise.
      metric: what is reported.
      samplers: ``config -> (train, validation, test)``, each of one episode.
      example: ``config -> episode`` to initialise from, without any data.
      network: ``(options, ways) -> encoder and head``.
    """

    description: str
    options: tuple[type, type, type]
    loss_fn: LossFn
    metric: LossFn
    samplers: Callable[[Config], tuple[Sampler, Sampler, Sampler]]
    example: Callable[[Config], Episode]
    network: Callable[[Any, int], EncoderHead]


def default_config(learner_name: str, tasks_name: str) -> Config:
    """Gives the options that reproduce a paper's setting, or come as near as is known.

    Raises:
      ValueError: if a name is unknown or the learner has no meaning on the tasks.
    """
    for kind, name, table in (("learner", learner_name, LEARNERS), ("tasks", tasks_name, TASKS)):
        if name not in table:
            raise ValueError(f"{kind} must be one of {', '.join(table)}; got {name!r}.")
    if problem := MEANINGLESS.get((learner_name, tasks_name)):
        raise ValueError(f"{learner_name} on {tasks_name} has no meaning: {problem}.")
    parts = (LEARNERS[learner_name].options, *TASKS[tasks_name].options)
    learner, tasks, test, network = (part() for part in parts)
    config = Config(learner_name, tasks_name, learner, tasks, test, network, TrainingOptions(), EvaluationOptions())
    for preset in (PRESETS.get(tasks_name, {}), PRESETS.get((learner_name, tasks_name), {})):
        sections = {name: dataclasses.replace(getattr(config, name), **values) for name, values in preset.items()}
        config = dataclasses.replace(config, **sections)
    return dataclasses.replace(config, baseline=(learner_name, tasks_name) == ("maml", "sinusoid"))


def _maml(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del ways
    return maml(compose(*network), loss_fn, optax.sgd(options.inner_rate), num_steps=options.inner_steps)


def _fomaml(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del ways
    inner_optimizer = optax.sgd(options.inner_rate)
    return maml(compose(*network), loss_fn, inner_optimizer, num_steps=options.inner_steps, adjoint=first_order())


def _anil(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del ways
    return anil(network, loss_fn, optax.sgd(options.inner_rate), num_steps=options.inner_steps)


def _reptile(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del ways
    rate = options.inner_rate
    inner_optimizer = optax.adam(rate, b1=0.0) if options.inner_optimizer == "adam" else optax.sgd(rate)
    model, num_steps = compose(*network), options.inner_steps
    return reptile(model, loss_fn, inner_optimizer, num_steps=num_steps, batch_size=options.inner_batch)


def _prototypical_networks(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del options, ways
    return prototypical_networks(network.encoder, loss_fn=loss_fn)


def _pretraining(options: Any, network: EncoderHead, loss_fn: LossFn, ways: int) -> Learner:
    del ways
    rate = options.fine_tuning_rates[0] if options.fine_tuning_rate is None else options.fine_tuning_rate
    return maml(compose(*network), loss_fn, optax.sgd(rate), num_steps=0)


def _sinusoid_samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    train = sinusoid(shots=config.tasks.shots, queries=config.tasks.queries)
    test = sinusoid(shots=config.test.evaluation_shots, queries=config.test.evaluation_queries)

    def sample(data: Any, key: jax.Array) -> Episode:
        # A stream of its own, so that no seed makes validation tasks of test tasks.
        return test.sample(data, jax.random.fold_in(key, 1))

    return train, Sampler(test.data, sample), test


def _omniglot_samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    tasks, test = config.tasks, config.test
    sizes = {"ways": test.evaluation_ways, "shots": test.evaluation_shots, "queries": test.evaluation_queries}
    rotations, path = tasks.rotations, tasks.path
    train = omniglot(path, "train", ways=tasks.ways, shots=tasks.shots, queries=tasks.queries, rotations=rotations)
    validation, held_out = (omniglot(path, split, **sizes, rotations=rotations) for split in ("validation", "test"))
    return train, validation, held_out


def _images(config: Config) -> Episode:
    images = jnp.zeros((config.tasks.ways, SIZE, SIZE, 1))
    batch = Batch(images, jnp.arange(config.tasks.ways))
    return Episode(batch, batch)


def _numbers(config: Config) -> Episode:
    del config
    batch = Batch(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    return Episode(batch, batch)


def _perceptron(options: Any, ways: int) -> EncoderHead:
    from flax import linen

    from jmeta.nn import MultilayerPerceptron

    body = from_linen(linen.Sequential([MultilayerPerceptron(options.hidden), linen.relu]))
    return EncoderHead(body._replace(normalization="none"), from_linen(MultilayerPerceptron((ways,))))


def _convolution(options: Any, ways: int) -> EncoderHead:
    from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

    encoder = ConvolutionalEncoder(options.channels, options.pooling, options.normalization)
    return EncoderHead(from_linen(encoder), from_linen(MultilayerPerceptron((ways,))))


LEARNERS = {
    "maml": LearnerEntry("adapts all weights by gradient steps, differentiated twice (Finn 2017)", options.MamlOptions, _maml),
    "fomaml": LearnerEntry("MAML with the inner gradients as constants (Finn 2017)", options.MamlOptions, _fomaml),
    "reptile": LearnerEntry("moves the weights towards the adapted ones (Nichol 2018)", options.ReptileOptions, _reptile),
    "anil": LearnerEntry("MAML that adapts the last layer alone (Raghu 2020)", options.MamlOptions, _anil),
    "prototypical_networks": LearnerEntry(
        "classifies by the distance to each class's mean feature (Snell 2017)", options.PrototypicalOptions, _prototypical_networks
    ),
    "pretraining": LearnerEntry(
        "trains on all tasks at once and fine-tunes to one: the baseline", options.PretrainingOptions, _pretraining
    ),
}
TASKS = {
    "sinusoid": TasksEntry(
        "regression of y = A sin(x - phase); needs no data (Finn 2017)",
        (options.SinusoidOptions, options.SinusoidTestOptions, options.PerceptronOptions),
        squared_error,
        squared_error,
        _sinusoid_samplers,
        _numbers,
        _perceptron,
    ),
    "omniglot": TasksEntry(
        "classification of handwritten characters, in the split of Vinyals 2016; needs the data",
        (options.OmniglotOptions, options.OmniglotTestOptions, options.ConvolutionOptions),
        optax.softmax_cross_entropy_with_integer_labels,
        accuracy,
        _omniglot_samplers,
        _images,
        _convolution,
    ),
}
MEANINGLESS = {
    ("prototypical_networks", "sinusoid"): "prototypes are of classes, and a regression has none",
    ("pretraining", "omniglot"): "the classes of each task are numbered anew, so there is nothing to learn from all tasks at once",
}
# What differs from the defaults of the options: first by tasks, then by learner and tasks.
PRESETS: dict[Any, dict[str, dict[str, Any]]] = {
    "sinusoid": {
        "training": {"steps": 20_000, "learning_rate": 4e-3, "schedule": "cosine", "validation_episodes": 1_000},
        "evaluation": {"evaluation_batch": 100},
    },
    "omniglot": {
        "tasks": {"queries": 3},
        "training": {
            "tasks_per_step": 16,
            "steps": 8_000,
            "learning_rate": 2e-3,
            "schedule": "cosine",
            "steps_per_chunk": 20,
            "validate_every": 400,
            "checkpoint_every": 400,
        },
    },
    ("maml", "omniglot"): {"learner": {"inner_rate": 0.4}, "evaluation": {"evaluation_steps": 3}},
    ("fomaml", "omniglot"): {"learner": {"inner_rate": 0.4}, "evaluation": {"evaluation_steps": 3}},
    ("anil", "omniglot"): {"learner": {"inner_rate": 0.4}, "evaluation": {"evaluation_steps": 3}},
    ("reptile", "sinusoid"): {"training": {"outer_optimizer": "sgd", "learning_rate": 1.0, "schedule": "linear"}},
    ("reptile", "omniglot"): {
        "learner": {"inner_optimizer": "adam", "inner_rate": 1e-3, "inner_batch": 10},
        "tasks": {"queries": 9},
        "training": {"outer_optimizer": "sgd", "learning_rate": 1.0, "schedule": "linear", "tasks_per_step": 5},
        "evaluation": {"evaluation_steps": 50},
    },
    ("prototypical_networks", "omniglot"): {
        "tasks": {"ways": 60, "queries": 5},
        "network": {"normalization": "group"},
        "training": {"tasks_per_step": 1, "steps": 9_000},
        "evaluation": {"evaluation_steps": 0},
    },
}
