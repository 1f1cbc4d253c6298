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
    "aligned_mtl": aggregation.aligned_mtl,
    "cagrad": aggregation.cagrad,
    "dual_projection": aggregation.dual_projection,
    "fairgrad": aggregation.fairgrad,
    "graddrop": aggregation.graddrop,
    "gradvac": aggregation.gradvac,
    "imtl_g": aggregation.imtl_g,
    # The losses of heterogeneous tasks have no common scale.
    "mgda": lambda: aggregation.mgda(normalise="loss+"),
    "nash_mtl": aggregation.nash_mtl,
    "pcgrad": aggregation.pcgrad,
    "upgrad": aggregation.upgrad,
}
