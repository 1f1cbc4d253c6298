"""Aggregators: from the gradients of several tasks to one.

The plain ``sum`` and ``mean`` are offered here alone, because at the top level they would hide those of Python.
"""

from jmeta.aggregation._aggregate import aggregate
from jmeta.aggregation._aligned_mtl import aligned_mtl
from jmeta.aggregation._cagrad import cagrad
from jmeta.aggregation._cosines import gradient_cosines
from jmeta.aggregation._cr_mogm import cr_mogm
from jmeta.aggregation._dual_projection import dual_projection
from jmeta.aggregation._fairgrad import fairgrad
from jmeta.aggregation._graddrop import graddrop
from jmeta.aggregation._gradvac import gradvac
from jmeta.aggregation._gramian import gramian, weighted_by_gramian
from jmeta.aggregation._imtl_g import imtl_g
from jmeta.aggregation._linear import mean as mean
from jmeta.aggregation._linear import sum as sum  # noqa: A004
from jmeta.aggregation._mgda import mgda
from jmeta.aggregation._nash_mtl import nash_mtl
from jmeta.aggregation._pcgrad import pcgrad
from jmeta.aggregation._upgrad import upgrad

__all__ = [
    "aggregate",
    "aligned_mtl",
    "cagrad",
    "cr_mogm",
    "dual_projection",
    "fairgrad",
    "graddrop",
    "gradient_cosines",
    "gradvac",
    "gramian",
    "imtl_g",
    "mgda",
    "nash_mtl",
    "pcgrad",
    "upgrad",
    "weighted_by_gramian",
]
