"""Weightings: one number for the loss of each task."""

from jmeta.weighting._dynamic_weight_average import dynamic_weight_average
from jmeta.weighting._equal import equal_weighting
from jmeta.weighting._famo import famo
from jmeta.weighting._geometric import geometric_loss_strategy
from jmeta.weighting._gradnorm import gradnorm
from jmeta.weighting._imtl_l import imtl_l
from jmeta.weighting._random import random_weighting
from jmeta.weighting._smooth_tchebycheff import smooth_tchebycheff
from jmeta.weighting._uncertainty import uncertainty_weighting

__all__ = [
    "dynamic_weight_average",
    "equal_weighting",
    "famo",
    "geometric_loss_strategy",
    "gradnorm",
    "imtl_l",
    "random_weighting",
    "smooth_tchebycheff",
    "uncertainty_weighting",
]
