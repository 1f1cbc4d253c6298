"""Learners that compare with examples."""

from jmeta.metric_based import heads as heads
from jmeta.metric_based._logistic import logistic_regression
from jmeta.metric_based._mahalanobis import mahalanobis_classifier
from jmeta.metric_based._matching import matching_networks
from jmeta.metric_based._prototypical import prototypical_networks
from jmeta.metric_based._relation import relation_loss, relation_networks
from jmeta.metric_based._ridge import ridge_regression
from jmeta.metric_based._siamese import siamese_networks

__all__ = [
    "logistic_regression",
    "mahalanobis_classifier",
    "matching_networks",
    "prototypical_networks",
    "relation_loss",
    "relation_networks",
    "ridge_regression",
    "siamese_networks",
]
