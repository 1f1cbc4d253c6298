"""The row of what meta-learning is compared with: a network pretrained on all tasks at once."""

import dataclasses

import optax

from jmeta._catalogue.rows import REGRESSION, Method, Setting
from jmeta._composition import compose
from jmeta._types import Learner
from jmeta.optimization_based._maml import maml

PRETRAINING = "pretraining"


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


def _pretraining(options: PretrainingOptions, setting: Setting) -> Learner:
    rate = options.fine_tuning_rates[0] if options.fine_tuning_rate is None else options.fine_tuning_rate
    return maml(compose(*setting.network), setting.loss_fn, optax.sgd(rate), num_steps=0)


# The classes of each few-shot task are numbered anew, so that all tasks at once teach nothing: regressions alone.
METHODS = {
    PRETRAINING: Method(
        "trains on all tasks at once and fine-tunes to one: the baseline",
        frozenset({REGRESSION}),
        PretrainingOptions,
        _pretraining,
    ),
}
