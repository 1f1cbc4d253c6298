"""Aggregators: from the gradients of several tasks to one.

The plain ``sum`` and ``mean`` are offered here alone, because at the top level they would hide those of Python.
"""

from jmeta.aggregation._aggregate import aggregate
from jmeta.aggregation._gramian import gramian, weighted_by_gramian
from jmeta.aggregation._linear import mean as mean
from jmeta.aggregation._linear import sum as sum  # noqa: A004
from jmeta.aggregation._pcgrad import pcgrad

__all__ = [
    "aggregate",
    "gramian",
    "pcgrad",
    "weighted_by_gramian",
]
