"""How the losses or the gradients of several tasks become one step, by name."""

from collections.abc import Callable, Mapping

import optax

from jmeta import aggregation, weighting
from jmeta._types import Aggregator, Weighting

# Of the parameters that weightings learn besides.
RATE = 0.025

WEIGHTINGS: Mapping[str, Callable[[], Weighting]] = {
    "equal_weighting": weighting.equal_weighting,
    "uncertainty_weighting": lambda: weighting.uncertainty_weighting(optax.adam(RATE)),
    "dynamic_weight_average": lambda: weighting.dynamic_weight_average(steps_per_epoch=100),
    "famo": lambda: weighting.famo(optax.adam(RATE)),
    "geometric_loss_strategy": weighting.geometric_loss_strategy,
    "imtl_l": lambda: weighting.imtl_l(optax.adam(RATE)),
    "random_weighting": weighting.random_weighting,
    "smooth_tchebycheff": lambda: weighting.smooth_tchebycheff(1.0),
}
AGGREGATORS: Mapping[str, Callable[[], Aggregator]] = {
    "pcgrad": aggregation.pcgrad,
}
