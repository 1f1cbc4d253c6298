"""Aggregators: from the gradients of several tasks to one."""

from jmeta.aggregation._aggregate import aggregate as aggregate
from jmeta.aggregation._gramian import gramian as gramian
from jmeta.aggregation._gramian import weighted_by_gramian as weighted_by_gramian
from jmeta.aggregation._linear import mean as mean
from jmeta.aggregation._linear import sum as sum  # noqa: A004
from jmeta.aggregation._pcgrad import pcgrad as pcgrad
