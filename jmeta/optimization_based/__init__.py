"""Learners that adapt by optimisation."""

from jmeta.optimization_based._anil import anil
from jmeta.optimization_based._maml import maml
from jmeta.optimization_based._reptile import reptile

__all__ = [
    "anil",
    "maml",
    "reptile",
]
