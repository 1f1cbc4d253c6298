"""Which episodes a learner is judged on: a list that a sampler and a seed determine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._options import check_counts
from jmeta._rows import fill_batch
from jmeta._types import Episode, Sampler
from jmeta._validation import check_one_task


class Draw(NamedTuple):
    """How an episode is drawn; a key of caches, because it holds functions alone.

    Attributes:
      sample: ``(data, key) -> Episode``.
      at: of a finite list, ``(data, index, key) -> Episode``.
    """

    sample: Callable[[Any, jax.Array], Episode]
    at: Callable[[Any, jax.Array, jax.Array], Episode] | None


def episodes_of(sampler: Sampler, episodes: int | None, seed: int, batch_size: int, *, endless: int) -> tuple[Draw, Any, Episode]:
    """Gives how episodes are drawn, which, ``[episodes]``, and the first one.

    Args:
      sampler: of one episode.
      episodes: how many; None takes ``endless``, or every task of a finite list once.
      seed: which.
      batch_size: how many run at once.
      endless: how many of a sampler without end.

    Raises:
      ValueError: if counts are out of range, or the sampler draws something else than one task.
    """
    size = sampler.size
    episodes = (endless if size is None else size) if episodes is None else episodes
    check_counts(0, episodes=episodes, batch_size=batch_size)
    if episodes < 2 or batch_size < 1:
        raise ValueError(f"episodes must be at least 2 and batch_size at least 1; got {episodes} and {batch_size}.")
    if size is not None and episodes > size:
        raise ValueError(f"episodes must be at most the {size} tasks of the list, each of which is taken once; got {episodes}.")
    keys = jax.random.split(jax.random.key(seed), episodes)
    chosen = None if size is None else jnp.asarray(np.random.default_rng(seed).permutation(size)[:episodes])
    draw = Draw(sampler.sample, None if size is None else sampler.at)
    first = jax.jit(drawn, static_argnums=0)(draw, sampler.data, (keys[0], None if chosen is None else chosen[0]))[0]
    check_one_task(first)
    return draw, (keys, chosen), first


def drawn(draw: Draw, data: Any, which: Any) -> tuple[Episode, jax.Array]:
    """Draws one episode, its masked rows filled, and gives the key for adapting to it."""
    key, index = which
    sample_key, adapt_key = jax.random.split(key)
    episode = draw.sample(data, sample_key) if draw.at is None else draw.at(data, index, sample_key)
    if isinstance(episode, Episode):
        check_one_task(episode)
        episode = episode._replace(support=fill_batch(episode.support), query=fill_batch(episode.query))
    return episode, adapt_key


def in_batches(one: Callable[[Any], Any], which: Any, batch_size: int) -> Any:
    """Maps over ``which [episodes]``, ``batch_size`` at once."""
    return jax.lax.map(one, which, batch_size=None if batch_size == 1 else batch_size)
