"""Learners that compare with examples."""

from jmeta.metric_based._matching import matching_networks
from jmeta.metric_based._prototypical import prototypical_networks
from jmeta.metric_based._relation import relation_loss, relation_networks
from jmeta.metric_based._siamese import siamese_networks

__all__ = [
    "matching_networks",
    "prototypical_networks",
    "relation_loss",
    "relation_networks",
    "siamese_networks",
]
