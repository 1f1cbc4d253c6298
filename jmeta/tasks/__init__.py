"""Samplers: where tasks come from."""

from jmeta.tasks._arrays import from_arrays, from_classes
from jmeta.tasks._batching import batch_tasks, combine, pad_episode
from jmeta.tasks._groups import episodes_from, minibatches
from jmeta.tasks._omniglot import omniglot
from jmeta.tasks._sinusoid import sinusoid

__all__ = [
    "batch_tasks",
    "combine",
    "episodes_from",
    "from_arrays",
    "from_classes",
    "minibatches",
    "omniglot",
    "pad_episode",
    "sinusoid",
]
