"""Knowledge transfer: of models, features and targets, between domains, and without labels.

Its names are short and are offered here alone: ``jmeta.transfer.coral``.
"""

from jmeta.transfer._alignment import Alignment as Alignment
from jmeta.transfer._alignment import Domain as Domain
from jmeta.transfer._cdan import cdan as cdan
from jmeta.transfer._coral import coral as coral
from jmeta.transfer._correlation_alignment import correlation_alignment as correlation_alignment
from jmeta.transfer._dann import dann as dann
from jmeta.transfer._domain_adaptation import DomainAdaptation as DomainAdaptation
from jmeta.transfer._domain_adaptation import DomainParams as DomainParams
from jmeta.transfer._domain_adaptation import domain_adaptation as domain_adaptation
from jmeta.transfer._geodesic_flow_kernel import geodesic_flow_kernel as geodesic_flow_kernel
from jmeta.transfer._joint_mmd import joint_mmd as joint_mmd
from jmeta.transfer._mcc import mcc as mcc
from jmeta.transfer._mcd import mcd as mcd
from jmeta.transfer._mdd import mdd as mdd
from jmeta.transfer._minimum_entropy import minimum_entropy as minimum_entropy
from jmeta.transfer._mmd import mmd as mmd
from jmeta.transfer._reversal import reversal_schedule as reversal_schedule
from jmeta.transfer._reversal import reverse_gradient as reverse_gradient
from jmeta.transfer._subspace_alignment import subspace_alignment as subspace_alignment
from jmeta.transfer._tent import tent as tent
from jmeta.transfer._transfer_component_analysis import transfer_component_analysis as transfer_component_analysis
