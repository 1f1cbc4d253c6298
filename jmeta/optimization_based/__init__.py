"""Learners that adapt by optimisation."""

from jmeta.optimization_based._anil import anil
from jmeta.optimization_based._boil import boil
from jmeta.optimization_based._cavia import cavia
from jmeta.optimization_based._learned_objective import learned_objective
from jmeta.optimization_based._learned_update_rule import learned_update_rule
from jmeta.optimization_based._maml import maml
from jmeta.optimization_based._meta_sgd import meta_sgd
from jmeta.optimization_based._proto_maml import proto_maml
from jmeta.optimization_based._reptile import reptile

__all__ = [
    "anil",
    "boil",
    "cavia",
    "learned_objective",
    "learned_update_rule",
    "maml",
    "meta_sgd",
    "proto_maml",
    "reptile",
]
