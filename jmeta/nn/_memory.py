"""A recurrent cell with an external memory (Santoro et al., 2016, 1605.06065)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jmeta._options import check_counts, check_positive, check_share

# Of squared lengths: a slot that nothing was written into has a cosine of 0 with everything, and a gradient.
_EPSILON = 1e-6


class MemoryState(NamedTuple):
    """What a cell keeps from one step to the next.

    Attributes:
      hidden: of its LSTM, two vectors ``[units]``.
      memory: ``[slots, width]``.
      weights: of the slots in the last reading, ``[reads, slots]``.
      usage: how much each slot was read and written lately, ``[slots]``.
      found: what was read last, ``[reads, width]``.
    """

    hidden: tuple[jax.Array, jax.Array]
    memory: jax.Array
    weights: jax.Array
    usage: jax.Array
    found: jax.Array


class MemoryCell(nn.Module):
    r"""An LSTM that reads a memory by cosine and writes over what was used least.

    With keys :math:`k_h` and gates :math:`g_h`, one for each read head h, of the LSTM's output, and least-used slots :math:`l_h`:

    .. math::

        w_h \leftarrow g_h r_h + (1 - g_h) 1_{l_h}, \quad
        M \leftarrow M \setminus l_1 + \sum_h w_h k_h^T, \quad
        r_h \leftarrow \mathrm{softmax}(s \cos(k_h, M)), \quad
        u \leftarrow \gamma u + \sum_h (r_h + w_h)

    Attributes:
      units: of the LSTM.
      slots: rows of the memory.
      width: of a row.
      reads: heads, each of which reads one vector and writes one.
      decay: :math:`\gamma`, what is left of a slot's usage after a step.
      sharpness: s, by which cosines are multiplied; the paper has 1, with which the slots are read much alike.
    """

    units: int = 200
    slots: int = 128
    width: int = 40
    reads: int = 4
    decay: float = 0.95
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        check_counts(units=self.units, slots=self.slots, width=self.width, reads=self.reads)
        check_share(decay=self.decay)
        check_positive(sharpness=self.sharpness)
        if self.reads > self.slots:
            raise ValueError(f"slots must be at least reads, {self.reads}, each of which writes into one; got {self.slots}.")
        super().__post_init__()

    def start(self, dtype: jax.typing.DTypeLike = jnp.float32) -> MemoryState:
        """Makes the state before the first step: nothing is written, nothing was read."""
        # Not the carry that flax's cell makes, which is float32 in whatever precision the cell is used.
        zeros = functools.partial(jnp.zeros, dtype=dtype)
        read, memory = zeros((self.reads, self.slots)), zeros((self.slots, self.width))
        return MemoryState((zeros(self.units), zeros(self.units)), memory, read, zeros(self.slots), zeros((self.reads, self.width)))

    @nn.compact
    def __call__(self, inputs: tuple[MemoryState, jax.Array]) -> tuple[MemoryState, jax.Array]:
        """Takes a state and ``x [d]`` to the next state and the outputs ``[units + reads * width]``."""
        state, x = inputs
        hidden, output = nn.OptimizedLSTMCell(self.units, name="lstm")(state.hidden, jnp.concatenate([x, state.found.reshape(-1)]))
        keys = nn.tanh(nn.Dense(self.reads * self.width, name="keys")(output)).reshape(self.reads, self.width)
        gates = nn.sigmoid(nn.Dense(self.reads, name="gates")(output))[:, None]
        _, least = jax.lax.top_k(-state.usage, self.reads)
        free = jax.nn.one_hot(least, self.slots, dtype=keys.dtype)
        written = gates * state.weights + (1 - gates) * free
        memory = state.memory * (1 - free[0])[:, None] + written.T @ keys
        weights = jax.nn.softmax(self.sharpness * _cosines(keys, memory), axis=-1)
        usage = self.decay * state.usage + (weights + written).sum(axis=0)
        found = weights @ memory
        return MemoryState(hidden, memory, weights, usage, found), jnp.concatenate([output, found.reshape(-1)])


def _cosines(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the cosines ``[n, m]`` of the rows of ``x [n, d]`` and ``y [m, d]``; that of a zero vector is 0."""
    lengths, others = (jnp.sqrt(jnp.square(rows).sum(axis=-1) + _EPSILON) for rows in (x, y))
    return x @ y.T / (lengths[:, None] * others[None])
