"""Learners that read examples: into a memory, a representation, or a context."""

from jmeta.model_based._in_context import in_context_learner
from jmeta.model_based._memory_augmented import memory_augmented_networks
from jmeta.model_based._snail import snail

__all__ = [
    "in_context_learner",
    "memory_augmented_networks",
    "snail",
]
