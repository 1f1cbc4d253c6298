"""The rows of the learners that adapt by optimisation, with their options."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import optax

from jmeta._adjoints import Adjoint, first_order, implicit
from jmeta._catalogue.rows import FEW_SHOT, Method, Setting
from jmeta._composition import compose
from jmeta._types import Learner
from jmeta.optimization_based._anil import anil
from jmeta.optimization_based._boil import boil
from jmeta.optimization_based._maml import maml
from jmeta.optimization_based._meta_sgd import meta_sgd
from jmeta.optimization_based._reptile import reptile


@dataclasses.dataclass(frozen=True)
class DescentOptions:
    """How the inner loop descends.

    Attributes:
      inner_rate: step size of the inner gradient descent, in parameter units per unit of gradient.
      inner_steps: inner gradient steps per task in training.
    """

    inner_rate: float = 0.01
    inner_steps: int = 1


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """What takes the inner steps where they are not differentiated.

    Attributes:
      inner_optimizer: sgd, or adam without momentum, as in Reptile's paper.
    """

    inner_optimizer: Literal["sgd", "adam"] = "sgd"


@dataclasses.dataclass(frozen=True)
class ProximalOptions:
    """How adapted weights are held at the initial ones, and how the point where they come to rest is differentiated.

    Attributes:
      proximal_strength: how strongly they are held; the larger, the more alike are the tasks taken to be.
      damping: added to the second derivatives in the system that is solved.
      solver_steps: conjugate-gradient steps of the solver.
    """

    proximal_strength: float = 2.0
    damping: float = 22.0
    solver_steps: int = 5


@dataclasses.dataclass(frozen=True)
class ImplicitOptions:
    """How iMAML adapts."""

    descent: DescentOptions = DescentOptions(inner_steps=16)
    optimizer: OptimizerOptions = OptimizerOptions()
    proximal: ProximalOptions = ProximalOptions()


@dataclasses.dataclass(frozen=True)
class LearnedRateOptions:
    """How Meta-SGD adapts.

    Attributes:
      initial_rate: the first step size of every weight, in parameter units per unit of gradient.
      inner_steps: inner gradient steps per task in training.
    """

    initial_rate: float = 0.01
    inner_steps: int = 1


@dataclasses.dataclass(frozen=True)
class ReptileOptions:
    """How Reptile adapts.

    Attributes:
      inner_batch: rows drawn for each inner step; None takes all rows of the task.
    """

    descent: DescentOptions = DescentOptions(inner_steps=10)
    optimizer: OptimizerOptions = OptimizerOptions()
    inner_batch: int | None = None


def _descending(learner: Callable[..., Learner], *, whole: bool = True, adjoint: Adjoint | None = None) -> Any:
    """Builds a learner of ``(model, loss_fn, inner_optimizer, *, num_steps, adjoint)``, of a ``whole`` model or of its parts."""

    def build(options: DescentOptions, setting: Setting) -> Learner:
        model = compose(*setting.network) if whole else setting.network
        return learner(model, setting.loss_fn, optax.sgd(options.inner_rate), num_steps=options.inner_steps, adjoint=adjoint)

    return build


def _inner_optimizer(options: OptimizerOptions, descent: DescentOptions) -> optax.GradientTransformation:
    return optax.adam(descent.inner_rate, b1=0.0) if options.inner_optimizer == "adam" else optax.sgd(descent.inner_rate)


def _imaml(options: ImplicitOptions, setting: Setting) -> Learner:
    held, num_steps = options.proximal, options.descent.inner_steps
    adjoint = implicit(proximal_strength=held.proximal_strength, damping=held.damping, solver_steps=held.solver_steps)
    inner_optimizer = _inner_optimizer(options.optimizer, options.descent)
    return maml(compose(*setting.network), setting.loss_fn, inner_optimizer, num_steps=num_steps, adjoint=adjoint)


def _meta_sgd(options: LearnedRateOptions, setting: Setting) -> Learner:
    model, rate = compose(*setting.network), options.initial_rate
    return meta_sgd(model, setting.loss_fn, initial_rate=rate, num_steps=options.inner_steps)


def _reptile(options: ReptileOptions, setting: Setting) -> Learner:
    inner_optimizer, num_steps = _inner_optimizer(options.optimizer, options.descent), options.descent.inner_steps
    return reptile(compose(*setting.network), setting.loss_fn, inner_optimizer, num_steps=num_steps, batch_size=options.inner_batch)


CHARACTERS = {"inner_rate": 0.4, "evaluation_steps": 3}
# Of iMAML: weights that are held less, and the longest steps that come to rest.
HELD = {"proximal_strength": 0.5, "damping": 0.5, "inner_rate": 0.1, "learning_rate": 2e-3}
BOIL_CHARACTERS = {"inner_rate": 0.5, "evaluation_steps": 3, "learning_rate": 1e-3}
REPTILE_OMNIGLOT = {
    **{"inner_optimizer": "adam", "inner_rate": 1e-3, "inner_steps": 5, "inner_batch": 10, "evaluation_steps": 50},
    **{"queries": 9, "tasks_per_step": 5},
}
META_SGD_CHARACTERS = {"initial_rate": 0.1, "evaluation_steps": 1, "clip_norm": 10.0}
# Of standardised numbers.
ARRAYS = {"inner_rate": 0.03, "inner_steps": 5, "evaluation_steps": 5}
METHODS = {
    "maml": Method(
        "adapts all weights by gradient steps, differentiated twice (Finn 2017)",
        FEW_SHOT,
        DescentOptions,
        _descending(maml),
        presets={"glyphs": CHARACTERS, "omniglot": CHARACTERS, "arrays": ARRAYS},
    ),
    "fomaml": Method(
        "MAML with the inner gradients as constants (Finn 2017)",
        FEW_SHOT,
        DescentOptions,
        _descending(maml, adjoint=first_order()),
        presets={"glyphs": CHARACTERS, "omniglot": CHARACTERS, "arrays": ARRAYS},
    ),
    "imaml": Method(
        "MAML by the implicit function theorem, whatever the steps (Rajeswaran 2019)",
        FEW_SHOT,
        ImplicitOptions,
        _imaml,
        {"evaluation_steps": 16, "learning_rate": 1e-3, "clip_norm": 10.0},
        {
            # Its derivative does not notice that a descent diverges: nothing but short steps keeps it from that.
            "sinusoid": {"shots": 5, "inner_rate": 1e-3, "steps": 10_000},
            "glyphs": HELD,
            "omniglot": HELD,
        },
    ),
    "anil": Method(
        "MAML that adapts the last layer alone (Raghu 2020)",
        FEW_SHOT,
        DescentOptions,
        _descending(anil, whole=False),
        # A head that is trained on more rows than it is tested on makes the steps on the fewer ones too long.
        presets={"sinusoid": {"shots": 5, "inner_steps": 5}, "glyphs": CHARACTERS, "omniglot": CHARACTERS, "arrays": ARRAYS},
    ),
    "boil": Method(
        "MAML that adapts all but the last layer (Oh 2021)",
        FEW_SHOT,
        DescentOptions,
        _descending(boil, whole=False),
        presets={"glyphs": BOIL_CHARACTERS, "omniglot": BOIL_CHARACTERS, "arrays": ARRAYS},
    ),
    "reptile": Method(
        "moves the weights towards the adapted ones (Nichol 2018)",
        FEW_SHOT,
        ReptileOptions,
        _reptile,
        {"outer_optimizer": "sgd", "learning_rate": 1.0, "schedule": "linear"},
        {
            "sinusoid": {"inner_batch": 5},
            "glyphs": {"inner_rate": 0.1, "inner_steps": 8, "inner_batch": 10, "evaluation_steps": 20, "queries": 9},
            "omniglot": REPTILE_OMNIGLOT,
            "arrays": {"inner_optimizer": "adam", "inner_rate": 1e-3, "evaluation_steps": 5},
        },
    ),
    "meta_sgd": Method(
        "MAML that learns a step size for each weight (Li 2017)",
        FEW_SHOT,
        LearnedRateOptions,
        _meta_sgd,
        presets={
            # Learnt step sizes are made for the steps that they are learnt for: further ones diverge.
            "sinusoid": {"shots": 5, "inner_steps": 3, "evaluation_steps": 3, "learning_rate": 2e-3, "clip_norm": 1.0},
            "glyphs": META_SGD_CHARACTERS,
            "omniglot": META_SGD_CHARACTERS,
            "arrays": {"initial_rate": 0.02, "inner_steps": 3, "evaluation_steps": 3, "clip_norm": 1.0},
        },
    ),
}
