"""Learners that compare with examples."""

from jmeta.metric_based._prototypical import prototypical_networks

__all__ = [
    "prototypical_networks",
]
