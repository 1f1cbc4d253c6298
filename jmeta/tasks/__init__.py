"""Samplers: where tasks come from."""

from jmeta._validation import check_episode as check_episode
from jmeta.tasks._arrays import from_arrays as from_arrays
from jmeta.tasks._arrays import from_classes as from_classes
from jmeta.tasks._batching import batch_tasks as batch_tasks
from jmeta.tasks._batching import combine as combine
from jmeta.tasks._batching import pad_episode as pad_episode
from jmeta.tasks._omniglot import omniglot as omniglot
from jmeta.tasks._sinusoid import sinusoid as sinusoid
