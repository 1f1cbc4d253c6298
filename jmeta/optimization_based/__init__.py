"""Learners that adapt by optimisation."""

from jmeta.optimization_based._anil import anil
from jmeta.optimization_based._boil import boil
from jmeta.optimization_based._maml import maml
from jmeta.optimization_based._meta_sgd import meta_sgd
from jmeta.optimization_based._reptile import reptile

__all__ = [
    "anil",
    "boil",
    "maml",
    "meta_sgd",
    "reptile",
]
