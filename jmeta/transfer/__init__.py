"""Knowledge transfer: of models, features and targets, between domains, and without labels.

Its names are short and are offered here alone: ``jmeta.transfer.coral``.
"""

from jmeta.transfer._alignment import Alignment as Alignment
from jmeta.transfer._alignment import Domain as Domain
from jmeta.transfer._cactus import cactus as cactus
from jmeta.transfer._cdan import cdan as cdan
from jmeta.transfer._clustering_scores import adjusted_rand_index as adjusted_rand_index
from jmeta.transfer._clustering_scores import clustering_accuracy as clustering_accuracy
from jmeta.transfer._clustering_scores import normalized_mutual_information as normalized_mutual_information
from jmeta.transfer._coral import coral as coral
from jmeta.transfer._correlation_alignment import correlation_alignment as correlation_alignment
from jmeta.transfer._dann import dann as dann
from jmeta.transfer._deep_embedded_clustering import ClusterParams as ClusterParams
from jmeta.transfer._deep_embedded_clustering import DeepClustering as DeepClustering
from jmeta.transfer._deep_embedded_clustering import deep_embedded_clustering as deep_embedded_clustering
from jmeta.transfer._deep_embedded_validation import deep_embedded_validation as deep_embedded_validation
from jmeta.transfer._domain_adaptation import DomainAdaptation as DomainAdaptation
from jmeta.transfer._domain_adaptation import DomainParams as DomainParams
from jmeta.transfer._domain_adaptation import domain_adaptation as domain_adaptation
from jmeta.transfer._geodesic_flow_kernel import geodesic_flow_kernel as geodesic_flow_kernel
from jmeta.transfer._h_score import h_score as h_score
from jmeta.transfer._importance_weights import importance_weights as importance_weights
from jmeta.transfer._joint_mmd import joint_mmd as joint_mmd
from jmeta.transfer._k_means import Clusters as Clusters
from jmeta.transfer._k_means import k_means as k_means
from jmeta.transfer._label_free_scores import LabelFreeScores as LabelFreeScores
from jmeta.transfer._label_free_scores import label_free_scores as label_free_scores
from jmeta.transfer._leep import leep as leep
from jmeta.transfer._logme import logme as logme
from jmeta.transfer._mcc import mcc as mcc
from jmeta.transfer._mcd import mcd as mcd
from jmeta.transfer._mdd import mdd as mdd
from jmeta.transfer._minimum_entropy import minimum_entropy as minimum_entropy
from jmeta.transfer._mmd import mmd as mmd
from jmeta.transfer._negative_conditional_entropy import negative_conditional_entropy as negative_conditional_entropy
from jmeta.transfer._rank_sources import rank_sources as rank_sources
from jmeta.transfer._refine_clusters import refine_clusters as refine_clusters
from jmeta.transfer._refine_clusters import start_clusters as start_clusters
from jmeta.transfer._reversal import reversal_schedule as reversal_schedule
from jmeta.transfer._reversal import reverse_gradient as reverse_gradient
from jmeta.transfer._subspace_alignment import subspace_alignment as subspace_alignment
from jmeta.transfer._task2vec import task2vec as task2vec
from jmeta.transfer._task2vec import task2vec_distance as task2vec_distance
from jmeta.transfer._tent import tent as tent
from jmeta.transfer._transfer_component_analysis import transfer_component_analysis as transfer_component_analysis
