"""Encoders of padded sequences: a recurrent network, and a bag of embeddings.

Sequences are ``x = {"values": [n, steps, channels], "mask": [n, steps]}``, or have ``"ids"`` of tokens, ``[n, steps]``, in place of
the values. The mask marks the real steps; what the others hold never matters, wherever they are. Rows do not see each other.

The cells are those of Cho et al. (2014, 1406.1078), with the reset gate behind the product as in cuDNN and flax, and of Hochreiter
and Schmidhuber (1997), with a forget gate whose bias starts at 1 (Jozefowicz, Zaremba and Sutskever, 2015, ICML).
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jmeta._options import check_counts
from jmeta._sentences import kinds

CELLS = {"gru": 3, "lstm": 4}  # With the number of their gates.
POOLINGS = ("last", "mean")
Carry = tuple[jax.Array, ...]  # The state, and an LSTM's memory.


class RecurrentEncoder(nn.Module):
    """Reads a sequence step by step, and gives one vector: the state after the last real step, or the mean over the real ones.

    Attributes:
      features: size of the state, and of the vector.
      cell: ``"gru"`` or ``"lstm"``.
      pooling: ``"last"`` or ``"mean"``.
      vocabulary: how many tokens there are, for sequences of ids; None is for sequences of values.
      embedding: size of the vector that is learnt of each token.
    """

    features: int = 64
    cell: str = "gru"
    pooling: str = "last"
    vocabulary: int | None = None
    embedding: int = 64
    normalization: str = "none"

    def __post_init__(self) -> None:
        check_counts(features=self.features, vocabulary=self.vocabulary, embedding=self.embedding)
        _check_choice("cell", self.cell, CELLS)
        _check_choice("pooling", self.pooling, POOLINGS)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> jax.Array:
        """Maps sequences to features ``[n, features]``; those of a sequence without a real step are zeros.

        Raises:
          ValueError: for anything but such sequences, above all for those without a mask.
        """
        values, mask = _read(x, self.vocabulary, self.embedding)
        # Of all steps at once: what the loop is left with is one product of the state.
        projected = nn.Dense(CELLS[self.cell] * self.features, bias_init=self._bias)(values)
        recurrent = self.param("recurrent", self._orthogonal, (self.features, projected.shape[-1])).astype(projected.dtype)
        state = jnp.zeros((len(mask), self.features), projected.dtype)
        if self.cell == "gru":
            bias = self.param("candidate_bias", nn.initializers.zeros, (1, self.features)).astype(projected.dtype)
            start, step = (state,), functools.partial(_gru, recurrent, bias)
        else:
            start, step = (state, state), functools.partial(_lstm, recurrent)

        def advance(carry: Carry, given: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array | None]:
            now, real = given
            carry = jax.tree.map(lambda new, old: jnp.where(real, new, old), step(carry, now), carry)
            return carry, carry[0] if self.pooling == "mean" else None

        by_step = jnp.swapaxes(projected, 0, 1), jnp.swapaxes(mask, 0, 1)[..., None]
        last, states = jax.lax.scan(advance, start, by_step)
        return last[0] if states is None else _mean(jnp.swapaxes(states, 0, 1), mask)

    def _bias(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        del key
        bias = jnp.zeros(shape, dtype)
        return bias if self.cell == "gru" else bias.at[self.features : 2 * self.features].set(1)

    def _orthogonal(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """Makes an orthogonal matrix for each gate."""
        gates = jax.random.split(key, CELLS[self.cell])
        return jnp.concatenate([nn.initializers.orthogonal()(gate, (shape[0], shape[0])) for gate in gates], axis=1)


class EmbeddingBag(nn.Module):
    """Averages the vectors that are learnt of the tokens of a sequence, whatever their order.

    Attributes:
      vocabulary: how many tokens there are.
      features: size of a vector.
    """

    vocabulary: int
    features: int = 64
    normalization: str = "none"

    def __post_init__(self) -> None:
        check_counts(vocabulary=self.vocabulary, features=self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array]) -> jax.Array:
        """Maps sequences of ids to features ``[n, features]``; those of a sequence without a real step are zeros.

        Raises:
          ValueError: for anything but such sequences, above all for those without a mask.
        """
        return _mean(*_read(x, self.vocabulary, self.features))


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Averages ``[n, steps, features]`` over the real steps."""
    real = mask.sum(axis=1)[:, None]
    return jnp.where(mask[..., None], values, 0).sum(axis=1) / jnp.maximum(real, 1)


def _gru(recurrent: jax.Array, bias: jax.Array, carry: Carry, given: jax.Array) -> Carry:
    (state,) = carry
    reset, update, candidate = jnp.split(given, 3, axis=-1)
    of_reset, of_update, of_candidate = jnp.split(state @ recurrent, 3, axis=-1)
    update = nn.sigmoid(update + of_update)
    candidate = nn.tanh(candidate + nn.sigmoid(reset + of_reset) * (of_candidate + bias))
    return ((1 - update) * candidate + update * state,)


def _lstm(recurrent: jax.Array, carry: Carry, given: jax.Array) -> Carry:
    state, memory = carry
    write, keep, candidate, read = jnp.split(given + state @ recurrent, 4, axis=-1)
    memory = nn.sigmoid(keep) * memory + nn.sigmoid(write) * nn.tanh(candidate)
    return nn.sigmoid(read) * nn.tanh(memory), memory


def _read(x: Any, vocabulary: int | None, features: int) -> tuple[jax.Array, jax.Array]:
    """Gives the values ``[n, steps, channels]`` of a sequence, zeros where there is no real step, and its mask."""
    name = "values" if vocabulary is None else "ids"
    if not isinstance(x, Mapping) or set(x) != {name, "mask"}:
        got = f"{'keys' if x else 'no keys'} {', '.join(sorted(map(str, x)))}".strip() if isinstance(x, Mapping) else kinds(x)
        raise ValueError(f"x must be sequences with a mask of their real steps, a dict of {name!r} and 'mask'; got {got}.")
    steps, mask = x[name], x["mask"]
    axes, fits = ("[n, steps, channels]", steps.ndim == 3) if vocabulary is None else ("[n, steps]", steps.ndim == 2)
    if not fits or 0 in steps.shape[1:] or mask.shape != steps.shape[:2] or mask.dtype != jnp.bool_:
        raise ValueError(f"x must have {name} {axes} of at least one step and a mask of booleans [n, steps]; got {kinds(x)}.")
    if vocabulary is None:
        return jnp.where(mask[..., None], steps, 0), mask
    if not jnp.issubdtype(steps.dtype, jnp.integer):
        raise ValueError(f"x must have whole numbers as ids; got {steps.dtype}.")
    return nn.Embed(vocabulary, features)(jnp.where(mask, steps, 0)), mask


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
