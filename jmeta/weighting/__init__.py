"""Weightings: one number for the loss of each task."""

from jmeta.weighting._equal import equal_weighting
from jmeta.weighting._uncertainty import uncertainty_weighting

__all__ = [
    "equal_weighting",
    "uncertainty_weighting",
]
