"""Learners that read examples: into a memory, a representation, or a context."""

from jmeta.model_based._memory_augmented import memory_augmented_networks

__all__ = [
    "memory_augmented_networks",
]
