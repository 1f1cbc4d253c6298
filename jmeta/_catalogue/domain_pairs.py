"""The rows of pairs of domains: digits of two sets, photographs, reviews, and made-up characters on two kinds of paper."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jmeta._catalogue.networks import PerceptronOptions, perceptron
from jmeta._catalogue.options import Config, Nothing
from jmeta._catalogue.rows import DomainProblem, Domains, DomainSetting
from jmeta._catalogue.stages import LeNetOptions, dense_head, lenet_stages
from jmeta._composition import chain
from jmeta._types import Batch, EncoderHead
from jmeta.tasks._amazon_reviews import amazon_reviews
from jmeta.tasks._glyph_shift import glyph_shift
from jmeta.tasks._mnist_usps import mnist_usps
from jmeta.tasks._office_caltech import office_caltech
from jmeta.tasks._splits import scale_of, standardised

DIGITS, DIGIT_SIZE, GLYPH_SIZE = 10, 28, 20
PAPERS = ("white paper", "grey paper")


@dataclasses.dataclass(frozen=True)
class DigitsOptions:
    """Which digits, and the size of a training batch.

    Attributes:
      path: folder with the folders mnist and usps; None is that of $JMETA_DATA.
      source: the set with labels; the other is the target.
      examples: images of each domain per training step.
      validation_share: of the training images of the source, held out for validation.
      split_seed: which.
    """

    path: str | None = None
    source: Literal["mnist", "usps"] = "mnist"
    examples: int = 128
    validation_share: float = 0.1
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class PhotographsOptions:
    """Which photographs, and the size of a training batch.

    Attributes:
      path: folder with office_caltech_surf800.npz, or that file; None looks in the folder office_caltech_surf of $JMETA_DATA.
      source: the collection with labels.
      target: the one without.
      examples: of each domain per training step.
      validation_share: of the source, held out for validation.
      split_seed: which.
    """

    path: str | None = None
    source: Literal["caltech10", "amazon", "webcam", "dslr"] = "caltech10"
    target: Literal["caltech10", "amazon", "webcam", "dslr"] = "amazon"
    examples: int = 64
    validation_share: float = 0.2
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class ReviewsOptions:
    """Which reviews, and the size of a training batch.

    Attributes:
      path: folder with amazon_review400.npz, or that file; None looks in the folder amazon_review400 of $JMETA_DATA.
      source: the kind of product with labels.
      target: the one without.
      examples: of each domain per training step.
      validation_share: of the source, held out for validation.
      split_seed: which.
    """

    path: str | None = None
    source: Literal["books", "dvd", "elec", "kitchen"] = "books"
    target: Literal["books", "dvd", "elec", "kitchen"] = "elec"
    examples: int = 128
    validation_share: float = 0.2
    split_seed: int = 0


@dataclasses.dataclass(frozen=True)
class GlyphShiftOptions:
    """The characters, and the size of a training batch.

    Attributes:
      drawings: of each domain to train on, and as many of the source for validation.
      classes: characters of the alphabet.
      shift: how far the target is from the source; at 0 they are alike.
      jitter: how much the drawings of a character differ.
      examples: drawings of each domain per training step.
    """

    drawings: int = 2_000
    classes: int = 10
    shift: float = 1.0
    jitter: float = 1.0
    examples: int = 64


@dataclasses.dataclass(frozen=True)
class GlyphShiftTestOptions:
    """The size of the test.

    Attributes:
      evaluation_examples: drawings of the target domain.
    """

    evaluation_examples: int = 2_000


def _lenet(classes: Callable[[Config], int]) -> Callable[[Config], DomainSetting]:
    def setting(config: Config) -> DomainSetting:
        network = EncoderHead(chain(lenet_stages(config.network)), dense_head(classes(config)))
        return DomainSetting(network, classes(config), config.training.steps)

    return setting


def _of_vectors(classes: int) -> Callable[[Config], DomainSetting]:
    return lambda config: DomainSetting(perceptron(config.network, classes), classes, config.training.steps)


def _digits(config: Config) -> Domains:
    tasks = config.tasks
    target = "usps" if tasks.source == "mnist" else "mnist"
    found = mnist_usps(tasks.path)
    parts = _held_out(found[tasks.source]["train"], tasks)
    return Domains((tasks.source, target), *parts, found[target]["train"]._replace(y=None), found[target]["test"])


def _of_counts(read: Callable[[Any], Mapping[str, Batch]]) -> Callable[[Config], Domains]:
    """Makes z-scores of shares of words, of each domain by itself; all examples of the target are both trained and tested on."""

    def domains(config: Config) -> Domains:
        tasks = config.tasks
        if tasks.source == tasks.target:
            raise ValueError(f"target must be another domain than the source; got {tasks.target} for both.")
        found = read(tasks.path)
        source, target = (_in_units(found[name]) for name in (tasks.source, tasks.target))
        return Domains((tasks.source, tasks.target), *_held_out(source, tasks), target._replace(y=None), target)

    return domains


def _in_units(batch: Batch) -> Batch:
    shares = batch.x / np.maximum(batch.x.sum(axis=1, keepdims=True), 1)
    return batch._replace(x=standardised(shares, scale_of(shares)))


def _held_out(batch: Batch, tasks: Any) -> tuple[Batch, Batch]:
    """Divides the examples of the source into those to train on and those for validation."""
    count, rows = round(tasks.validation_share * len(batch.y)), len(batch.y)
    if not 0 < count < rows:
        raise ValueError(f"validation_share must hold out some of {rows} examples, and not all; got {tasks.validation_share}.")
    order = np.random.default_rng(tasks.split_seed).permutation(rows)
    kept, held = order[count:], order[:count]
    return Batch(batch.x[kept], batch.y[kept]), Batch(batch.x[held], batch.y[held])


def _glyphs(config: Config) -> Domains:
    tasks = config.tasks
    drawing = {"classes": tasks.classes, "size": GLYPH_SIZE, "shift": tasks.shift, "jitter": tasks.jitter}

    def drawn(split: str, examples: int, seed: int) -> dict[str, Batch]:
        sampler = glyph_shift(examples=examples, split=split, **drawing)
        return jax.device_get(jax.jit(sampler.sample)(sampler.data, jax.random.key(seed)))

    train, validation = (drawn(split, tasks.drawings, 0) for split in ("train", "validation"))
    test = drawn("test", config.test.evaluation_examples, config.evaluation.evaluation_seed)
    return Domains(PAPERS, train["source"], validation["source"], train["target"], test["target"])


def _example(*shape: int) -> Callable[[Config], dict[str, Batch]]:
    x = np.zeros((1, *shape), np.float32)
    return lambda config: {"source": Batch(x, np.zeros(1, np.int32)), "target": Batch(x, None)}


SMALL_LENET = {"filters": (8, 16), "hidden_units": 64, "dropout": 0.0}
PROBLEMS = {
    "glyph-shift": DomainProblem(
        "made-up characters, with labels on white paper, without on grey, which need no data",
        (GlyphShiftOptions, GlyphShiftTestOptions, LeNetOptions),
        _lenet(lambda config: config.tasks.classes),
        _glyphs,
        _example(GLYPH_SIZE, GLYPH_SIZE, 1),
        {**SMALL_LENET, "learning_rate": 2e-3},
    ),
    "mnist-usps": DomainProblem(
        "digits of two sets, which need MNIST and USPS",
        (DigitsOptions, Nothing, LeNetOptions),
        _lenet(lambda config: DIGITS),
        _digits,
        _example(DIGIT_SIZE, DIGIT_SIZE, 1),
        {"filters": (20, 50), "hidden_units": 500, "dropout": 0.0, "steps": 2_000, "validate_every": 200},
    ),
    "office-caltech": DomainProblem(
        "ten things in four collections of photographs, as visual words, which need the data (Gong 2012)",
        (PhotographsOptions, Nothing, PerceptronOptions),
        _of_vectors(10),
        _of_counts(office_caltech),
        _example(800),
        {"hidden": (100,), "steps": 500, "validate_every": 50, "steps_per_chunk": 50},
    ),
    "amazon": DomainProblem(
        "good and bad reviews of four kinds of products, which need the data (Blitzer 2007)",
        (ReviewsOptions, Nothing, PerceptronOptions),
        _of_vectors(2),
        _of_counts(amazon_reviews),
        _example(400),
        {"hidden": (100,), "steps": 500, "validate_every": 50, "steps_per_chunk": 50},
    ),
}
