"""Layers and networks."""

from jmeta.nn._attention import Attention as Attention
from jmeta.nn._attention import AttentionBlock as AttentionBlock
from jmeta.nn._attention import CausalAttention as CausalAttention
from jmeta.nn._attention import CausalConvolution as CausalConvolution
from jmeta.nn._attention import attend as attend
from jmeta.nn._convolution import Conv as Conv
from jmeta.nn._convolution import conv_general_dilated as conv_general_dilated
from jmeta.nn._encoders import BatchStatistics as BatchStatistics
from jmeta.nn._encoders import ConvolutionalEncoder as ConvolutionalEncoder
from jmeta.nn._encoders import MultilayerPerceptron as MultilayerPerceptron
from jmeta.nn._memory import MemoryCell as MemoryCell
from jmeta.nn._memory import MemoryState as MemoryState
from jmeta.nn._pooling import avg_pool as avg_pool
from jmeta.nn._pooling import max_pool as max_pool
from jmeta.nn._sequences import EmbeddingBag as EmbeddingBag
from jmeta.nn._sequences import RecurrentEncoder as RecurrentEncoder
