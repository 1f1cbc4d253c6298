"""Knowledge transfer: of models, features and targets, between domains, and without labels.

Its names are short and are offered here alone: ``jmeta.transfer.coral``.
"""

from jmeta._optimizers import trainable as trainable
from jmeta.transfer._copy_matching import Copied as Copied
from jmeta.transfer._copy_matching import copy_matching as copy_matching
from jmeta.transfer._gradual_unfreezing import gradual_unfreezing as gradual_unfreezing
from jmeta.transfer._layerwise_rates import layerwise_rates as layerwise_rates
from jmeta.transfer._replace_head import replace_head as replace_head
from jmeta.transfer._supervised import supervised as supervised
