"""Attention over rows that count what they say, and the layers made of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jmeta._options import check_counts


def attend(queries: jax.Array, keys: jax.Array, values: jax.Array, counts: jax.Array) -> jax.Array:
    r"""Averages values for each query, a row by :math:`c_j \exp(q \cdot k_j / \sqrt d)`: one that counts 2 is as good as two rows.

    In the precision of what it is given, where ``jax.nn.dot_product_attention`` takes its softmax in float32.

    Args:
      queries: ``[..., m, d]``.
      keys: ``[..., n, d]``.
      values: ``[..., n, v]``.
      counts: ``[n]``, or ``[m, n]``, what each row counts, 0 where it is not seen. Without any the average is 0.
    """
    scores = queries @ keys.swapaxes(-1, -2) / queries.shape[-1] ** 0.5
    real = jnp.broadcast_to(counts > 0, scores.shape)
    scores = scores + jnp.broadcast_to(jnp.log(jnp.where(counts > 0, counts, 1)).astype(scores.dtype), scores.shape)
    return jax.nn.softmax(scores, axis=-1, where=real) @ values


class Attention(nn.Module):
    """Multi-head attention.

    Attributes:
      width: of all heads together, and of the result.
      heads: how many.
    """

    width: int
    heads: int = 8

    def __post_init__(self) -> None:
        check_counts(width=self.width, heads=self.heads)
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads; got {self.width} and {self.heads}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
        """Takes queries ``[m, ...]``, keys and values ``[n, ...]`` and counts ``[n]`` to ``[m, width]``."""
        queries, keys, values, counts = inputs
        rows = self._project("queries", queries), self._project("keys", keys), self._project("values", values)
        found = attend(*rows, counts)
        return nn.Dense(self.width, name="outputs")(found.swapaxes(0, 1).reshape(len(queries), self.width))

    def _project(self, name: str, rows: jax.Array) -> jax.Array:
        """Gives ``[heads, n, width / heads]``."""
        return nn.Dense(self.width, name=name)(rows).reshape(len(rows), self.heads, -1).swapaxes(0, 1)


class AttentionBlock(nn.Module):
    """Attention and two dense layers, each normalised before and added after (a transformer's layer)."""

    width: int
    heads: int = 4
    activation: Callable[[jax.Array], jax.Array] = nn.gelu

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        """Lets ``rows [m, width]`` see ``context [n, width]``, which counts ``[n]``, and nothing of each other."""
        rows, context, counts = inputs
        norm = nn.LayerNorm(name="norm")
        context = norm(context)
        rows = rows + Attention(self.width, self.heads, name="attention")((norm(rows), context, context, counts))
        hidden = self.activation(nn.Dense(4 * self.width, name="hidden")(nn.LayerNorm(name="hidden_norm")(rows)))
        return rows + nn.Dense(self.width, name="outputs")(hidden)


class CausalAttention(nn.Module):
    """Appends to each row of a sequence what it finds among those before it and itself (Mishra et al., 2018, 1707.03141).

    Attributes:
      keys: width of keys and queries.
      values: width of what is appended.
    """

    keys: int
    values: int

    def __post_init__(self) -> None:
        check_counts(keys=self.keys, values=self.values)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        """Takes ``rows [m, d]``, the ``past [n, d]``, and which of it each sees, ``[m, n]``, to ``[m, d + values]``."""
        rows, past, seen = inputs
        layers = [
            nn.Dense(width, name=name) for name, width in (("queries", self.keys), ("keys", self.keys), ("values", self.values))
        ]
        query, key, value = (layer(rows) for layer in layers)
        keys, values = (layer(past) for layer in layers[1:])
        scores = jnp.concatenate([query @ keys.T, (query * key).sum(axis=-1, keepdims=True)], axis=1) / self.keys**0.5
        shares = jax.nn.softmax(scores, axis=-1, where=jnp.pad(seen, ((0, 0), (0, 1)), constant_values=True))
        return jnp.concatenate([rows, shares[:, :-1] @ values + shares[:, -1:] * value], axis=1)


class CausalConvolution(nn.Module):
    """Appends to each row a gated convolution of it and one row before (Mishra et al., 2018, 1707.03141).

    Attributes:
      filters: width of what is appended.
    """

    filters: int

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Takes ``rows [m, d]``, and for each one ``before [m, d]``, to ``[m, d + filters]``."""
        rows, before = inputs
        pair = jnp.concatenate([before, rows], axis=1)
        value, gate = nn.Dense(self.filters, name="values")(pair), nn.Dense(self.filters, name="gates")(pair)
        return jnp.concatenate([rows, nn.tanh(value) * nn.sigmoid(gate)], axis=1)
