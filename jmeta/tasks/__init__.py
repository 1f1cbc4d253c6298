"""Samplers: where tasks come from."""

from jmeta.tasks._amazon_reviews import amazon_reviews
from jmeta.tasks._arrays import from_arrays, from_classes
from jmeta.tasks._banking77 import banking77, banking77_vocabulary
from jmeta.tasks._batching import batch_tasks, combine, pad_episode
from jmeta.tasks._bearings import bearings
from jmeta.tasks._clinc150 import clinc150, clinc150_vocabulary
from jmeta.tasks._glyph_shift import glyph_shift
from jmeta.tasks._glyphs import glyphs
from jmeta.tasks._groups import episodes_from, minibatches
from jmeta.tasks._harmonic import harmonic
from jmeta.tasks._mnist import mnist
from jmeta.tasks._mnist_usps import mnist_usps
from jmeta.tasks._multi_glyphs import multi_glyphs
from jmeta.tasks._multi_mnist import multi_mnist
from jmeta.tasks._multimodal import multimodal
from jmeta.tasks._nyuv2 import nyuv2
from jmeta.tasks._office_caltech import office_caltech
from jmeta.tasks._omniglot import omniglot
from jmeta.tasks._parkinsons import parkinsons, parkinsons_episodes
from jmeta.tasks._piecewise import piecewise
from jmeta.tasks._ragged import stack_tasks, task_minibatches
from jmeta.tasks._sarcos import sarcos
from jmeta.tasks._school import school, school_episodes
from jmeta.tasks._sinusoid import sinusoid
from jmeta.tasks._splits import Scale, Splits
from jmeta.tasks._texts import Vocabulary, build_vocabulary, encode_texts
from jmeta.tasks._usps import usps

__all__ = [
    "Scale",
    "Splits",
    "Vocabulary",
    "amazon_reviews",
    "banking77",
    "banking77_vocabulary",
    "batch_tasks",
    "bearings",
    "build_vocabulary",
    "clinc150",
    "clinc150_vocabulary",
    "combine",
    "encode_texts",
    "episodes_from",
    "from_arrays",
    "from_classes",
    "glyph_shift",
    "glyphs",
    "harmonic",
    "minibatches",
    "mnist",
    "mnist_usps",
    "multi_glyphs",
    "multi_mnist",
    "multimodal",
    "nyuv2",
    "office_caltech",
    "omniglot",
    "pad_episode",
    "parkinsons",
    "parkinsons_episodes",
    "piecewise",
    "sarcos",
    "school",
    "school_episodes",
    "sinusoid",
    "stack_tasks",
    "task_minibatches",
    "usps",
]
