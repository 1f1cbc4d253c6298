"""Knowledge transfer: of models, features and targets, between domains, and without labels.

Its names are short and are offered here alone: ``jmeta.transfer.coral``.
"""

from jmeta._optimizers import trainable as trainable
from jmeta.transfer._batch_spectral_shrinkage import batch_spectral_shrinkage as batch_spectral_shrinkage
from jmeta.transfer._co_tuning import category_relationship as category_relationship
from jmeta.transfer._co_tuning import co_tuning as co_tuning
from jmeta.transfer._copy_matching import Copied as Copied
from jmeta.transfer._copy_matching import copy_matching as copy_matching
from jmeta.transfer._dare import dare as dare
from jmeta.transfer._delta import channel_attention as channel_attention
from jmeta.transfer._delta import delta as delta
from jmeta.transfer._fisher_merging import fisher_information as fisher_information
from jmeta.transfer._fisher_merging import fisher_merging as fisher_merging
from jmeta.transfer._gradual_unfreezing import gradual_unfreezing as gradual_unfreezing
from jmeta.transfer._l2_sp import l2_sp as l2_sp
from jmeta.transfer._layerwise_rates import layerwise_rates as layerwise_rates
from jmeta.transfer._low_rank import Factors as Factors
from jmeta.transfer._low_rank import LowRank as LowRank
from jmeta.transfer._low_rank import low_rank as low_rank
from jmeta.transfer._low_rank import merge_low_rank as merge_low_rank
from jmeta.transfer._regmean import regmean as regmean
from jmeta.transfer._replace_head import replace_head as replace_head
from jmeta.transfer._supervised import supervised as supervised
from jmeta.transfer._task_arithmetic import task_arithmetic as task_arithmetic
from jmeta.transfer._ties_merging import ties_merging as ties_merging
from jmeta.transfer._weight_average import weight_average as weight_average
