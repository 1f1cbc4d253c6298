"""Learners that read examples: into a memory, a representation, or a context."""

from jmeta.model_based._attentive_neural_processes import attentive_neural_processes
from jmeta.model_based._conditional_neural_processes import conditional_neural_processes
from jmeta.model_based._gaussian import Gaussian, gaussian_negative_log_likelihood
from jmeta.model_based._in_context import in_context_learner
from jmeta.model_based._memory_augmented import memory_augmented_networks
from jmeta.model_based._neural_processes import neural_processes
from jmeta.model_based._snail import snail

__all__ = [
    "Gaussian",
    "attentive_neural_processes",
    "conditional_neural_processes",
    "gaussian_negative_log_likelihood",
    "in_context_learner",
    "memory_augmented_networks",
    "neural_processes",
    "snail",
]
