"""The rows of the alignments of two domains, with their options."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta import transfer
from jmeta._catalogue.options import Nothing
from jmeta._catalogue.rows import DomainMethod, DomainSetting
from jmeta._catalogue.stages import dense_head
from jmeta._types import Metrics, Model
from jmeta.transfer import Alignment, Domain


@dataclasses.dataclass(frozen=True)
class DistanceOptions:
    """How much a distance of the domains counts.

    Attributes:
      strength: its factor, beside the loss on the source.
    """

    strength: float = 1.0


@dataclasses.dataclass(frozen=True)
class AdversarialOptions:
    """The game against a discriminator of domains.

    Attributes:
      strength: the factor of the game, beside the loss on the source.
      reversal: how much of the discriminator's gradient, reversed, reaches the encoder in the end; it rises from 0.
      discriminator_units: of its hidden layer.
    """

    strength: float = 1.0
    reversal: float = 1.0
    discriminator_units: int = 256


@dataclasses.dataclass(frozen=True)
class ConditionalOptions:
    """The game against a discriminator that sees what the head says.

    Attributes:
      entropy: whether what the head is sure of counts more.
    """

    game: AdversarialOptions = dataclasses.field(default_factory=AdversarialOptions)
    entropy: bool = True


@dataclasses.dataclass(frozen=True)
class ConfusionOptions:
    """How confusion is measured.

    Attributes:
      temperature: of the probabilities.
      strength: the factor of the confusion, beside the loss on the source.
    """

    temperature: float = 2.5
    strength: float = 1.0


@dataclasses.dataclass(frozen=True)
class TwoHeadsOptions:
    """The game of two heads.

    Attributes:
      strength: the factor of their discrepancy, beside their losses on the source.
      reversal: how much of its gradient, reversed, reaches the encoder in the end; it rises from 0.
    """

    strength: float = 1.0
    reversal: float = 1.0


@dataclasses.dataclass(frozen=True)
class MarginOptions:
    """The game against a head that seeks disagreement.

    Attributes:
      margin: the exponential of the margin.
      strength: the factor of the game, beside the loss on the source.
      reversal: how much of the adversary's gradient, reversed, reaches the encoder in the end; it rises from 0.
    """

    margin: float = 4.0
    strength: float = 1.0
    reversal: float = 0.1


def _source_only(options: Nothing, setting: DomainSetting) -> Alignment:
    del options, setting

    def init(key: jax.Array, features: Any, outputs: Any) -> tuple[()]:
        del key, features, outputs
        return ()

    def loss(params: Any, key: jax.Array, source: Domain, target: Domain, *, step: Any = 0) -> tuple[jax.Array, Metrics]:
        del params, key, source, target, step
        return jnp.zeros(()), {}

    return Alignment(init, loss)


def _by(alignment: Callable[..., Alignment]) -> Callable[[DistanceOptions, DomainSetting], Alignment]:
    return lambda options, setting: alignment(strength=options.strength)


def _game(options: AdversarialOptions, setting: DomainSetting) -> tuple[Model, dict[str, Any]]:
    discriminator = dense_head(1, hidden=(options.discriminator_units,))
    return discriminator, {"reversal": _rising(options, setting), "strength": options.strength}


def _rising(options: Any, setting: DomainSetting) -> Callable[[Any], jax.Array]:
    return transfer.reversal_schedule(setting.steps, peak=options.reversal)


def _dann(options: AdversarialOptions, setting: DomainSetting) -> Alignment:
    discriminator, game = _game(options, setting)
    return transfer.dann(discriminator, **game)


def _cdan(options: ConditionalOptions, setting: DomainSetting) -> Alignment:
    discriminator, game = _game(options.game, setting)
    return transfer.cdan(discriminator, entropy=options.entropy, **game)


def _mcc(options: ConfusionOptions, setting: DomainSetting) -> Alignment:
    del setting
    return transfer.mcc(temperature=options.temperature, strength=options.strength)


def _mcd(options: TwoHeadsOptions, setting: DomainSetting) -> Alignment:
    return transfer.mcd(setting.network.head, reversal=_rising(options, setting), strength=options.strength)


def _mdd(options: MarginOptions, setting: DomainSetting) -> Alignment:
    reversal, strength = _rising(options, setting), options.strength
    return transfer.mdd(setting.network.head, margin=options.margin, reversal=reversal, strength=strength)


# Of a small network the whole gradient of an adversary moves the features farther than the domains are apart.
GENTLE = {"glyph-shift": {"reversal": 0.1}}
METHODS = {
    "source_only": DomainMethod("trains on the source alone: the baseline", Nothing, _source_only),
    "coral": DomainMethod(
        "draws covariances of the features together (Sun 2016)", DistanceOptions, _by(transfer.coral), {"strength": 10.0}
    ),
    "mmd": DomainMethod("draws features together by kernels, DAN (Long 2015)", DistanceOptions, _by(transfer.mmd)),
    "joint_mmd": DomainMethod("draws features and predictions together, JAN (Long 2017)", DistanceOptions, _by(transfer.joint_mmd)),
    "dann": DomainMethod("hides the domain from a discriminator (Ganin 2016)", AdversarialOptions, _dann, presets=GENTLE),
    "cdan": DomainMethod("hides it from one that sees the predictions (Long 2018)", ConditionalOptions, _cdan, presets=GENTLE),
    "mcc": DomainMethod("wavers between no two classes in the target (Jin 2020)", ConfusionOptions, _mcc),
    "mcd": DomainMethod("lets two heads agree in the target (Saito 2018)", TwoHeadsOptions, _mcd, presets=GENTLE),
    "mdd": DomainMethod("lets no head disagree in the target (Zhang 2019)", MarginOptions, _mdd),
    "minimum_entropy": DomainMethod(
        "is sure of its predictions in the target (Grandvalet 2004)",
        DistanceOptions,
        _by(transfer.minimum_entropy),
        {"strength": 0.1},
    ),
}
